#include "bertctl/command_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_join.h"
#include "bertctl/session.h"
#include "common/logging.h"
#include "common/spec/nearest_name.h"
#include "common/version.h"

namespace bert::ctl {
namespace {

void AddDurationOption(CLI::App& app, const std::string& name, absl::Duration& value, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, &value](const std::string& text) {
           absl::Duration parsed;
           if (!absl::ParseDuration(text, &parsed) || parsed <= absl::ZeroDuration()) {
             throw CLI::ValidationError(
                 name, fmt::format("must be a time above zero with a unit, such as 30s or 5m; it is '{}'", text));
           }
           value = parsed;
         },
         help)
      ->type_name("TIME");
}

void AddGlobalOptions(CLI::App& app, Session& session, LogOptions& log) {
  session.options.address = "127.0.0.1:7400";
  app.add_option("--coordinator", session.options.address, "The coordinator's address, 127.0.0.1:7400 by default")
      ->type_name("HOST:PORT")
      ->envname("BERT_COORDINATOR");
  session.options.credentials.AddTo(app);
  AddDurationOption(app, "--timeout", session.options.timeout,
                    "Give up after this time (exit 124); 20s by default, no end for watch, logs and --follow");
  AddDurationOption(app, "--retry", session.options.retry,
                    "Try for so long to reach the coordinator (exit 3); 3s by default");
  app.add_option("--log-level", log.level, "trace, debug, info, warning or error; warning by default");
  app.add_option("--log-format", log.format, "text or json");
}

std::string Footer() {
  return R"(Examples:
  bertctl submit -f examples/tiny-english.yaml --follow
  bertctl list
  bertctl watch JOB
  bertctl logs -f JOB
  bertctl describe JOB
  bertctl cancel JOB

)" + ExitCodeHelp();
}

// The command that was given, down to the last word: "checkpoint", then its "list".
const CLI::App& GivenCommand(const CLI::App& app) {
  const std::vector<CLI::App*> given = app.get_subcommands();
  return given.empty() ? app : GivenCommand(*given.front());
}

absl::Status CheckArguments(const CLI::App& app, const Session& session) {
  const CLI::App& command = GivenCommand(app);
  std::vector<std::string> commands;
  for (const CLI::App* known : command.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(known->get_name());
  }
  const std::vector<std::string> extras = app.remaining(true);
  if (!extras.empty()) {
    const std::string& extra = extras.front();
    const bool is_option = extra.starts_with("-");
    std::vector<std::string> options;
    for (const CLI::App* place = &command; place != nullptr; place = place->get_parent()) {
      for (const CLI::Option* option : place->get_options()) {
        for (const std::string& name : option->get_lnames()) options.push_back("--" + name);
      }
    }
    const auto nearest = spec::NearestName(extra, is_option ? options : commands);
    return absl::InvalidArgumentError(fmt::format("unknown {} '{}'{}",
                                                  is_option          ? "option"
                                                  : commands.empty() ? "argument"
                                                                     : "command",
                                                  extra, nearest ? fmt::format("; did you mean '{}'?", *nearest) : ""));
  }
  if (session.action) return absl::OkStatus();
  return absl::InvalidArgumentError("no command given; there are: " + absl::StrJoin(commands, ", "));
}

ExitCode FlushOutput(Session& session, ExitCode code) {
  session.console.out.flush();
  if (session.console.out.good()) return code;
  session.Note("cannot write to standard output");
  return code == ExitCode::kOk ? ExitCode::kError : code;
}

}  // namespace

ExitCode RunCommandLine(const std::vector<std::string>& arguments, Console& console, ShutdownSignal& shutdown,
                        Clock& clock) {
  Session session{.console = console, .shutdown = shutdown, .clock = clock};
  LogOptions log{.level = "warning"};
  CLI::App app("Trains BERT models on the machines of a bert-coordinator.", "bertctl");
  app.set_version_flag("--version", fmt::format("bertctl {}", kVersion));
  // Options of the program may stand behind the command too. What nobody knows is left over, for CheckArguments.
  app.fallthrough();
  app.allow_extras();
  AddGlobalOptions(app, session, log);
  AddSubmitCommand(app, session);
  AddJobCommands(app, session);
  AddFollowCommands(app, session);
  AddStepCommands(app, session);
  AddResourceCommands(app, session);
  app.add_subcommand("version", "Print this program's version")->callback([&session] {
    session.action = [&session] {
      session.console.out << "bertctl " << kVersion << "\n";
      return ExitCode::kOk;
    };
  });
  app.footer(Footer());
  for (CLI::App* const command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string footer = command->get_footer();
    command->footer(footer + (footer.empty() ? "" : "\n\n") + "The options of `bertctl --help` may stand here too.");
  }

  try {
    // CLI11 takes them last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::Success& help_or_version) {
    app.exit(help_or_version, console.out, console.err);
    return FlushOutput(session, ExitCode::kOk);
  } catch (const CLI::ParseError& error) {
    session.Note(fmt::format("{}\n  Try `bertctl --help`.", error.what()));
    return ExitCode::kUsage;
  }
  if (const absl::Status status = CheckArguments(app, session); !status.ok()) {
    session.Note(std::string(status.message()) + "\n  Try `bertctl --help`.");
    return ExitCode::kUsage;
  }
  if (const absl::Status status = InitLogging("bertctl", log); !status.ok()) {
    return session.Fail(status, ExitCode::kUsage);
  }
  return FlushOutput(session, session.action());
}

}  // namespace bert::ctl
