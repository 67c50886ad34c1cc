#include "bertctl/session.h"

#include <fmt/format.h>

#include "absl/strings/match.h"
#include "bertctl/value_format.h"

namespace bert::ctl {
namespace {

// gRPC reports a failed TLS handshake as UNAVAILABLE. A server that refuses this side's certificate, or that there is
// none, closes the connection without a word.
bool IsHandshakeFailure(const absl::Status& status) {
  if (!absl::IsUnavailable(status)) return false;
  for (const char* sign : {"Ssl handshake", "SSL_", "Socket closed", "Connection reset by peer"}) {
    if (absl::StrContains(status.message(), sign)) return true;
  }
  return false;
}

// "Connection refused" of gRPC's "failed to connect to all addresses; last error: UNKNOWN: ...: Connection refused".
std::string InnermostCause(const std::string& message) {
  const size_t colon = message.rfind(": ");
  return colon == std::string::npos ? message : message.substr(colon + 2);
}

const std::map<std::string, OutputFormat>& FormatNames() {
  static const auto* const kNames = new std::map<std::string, OutputFormat>{{"table", OutputFormat::kTable},
                                                                            {"wide", OutputFormat::kWide},
                                                                            {"json", OutputFormat::kJson},
                                                                            {"yaml", OutputFormat::kYaml},
                                                                            {"name", OutputFormat::kName}};
  return *kNames;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Session::Connect() {
  auto client =
      Client::Make(options, shutdown, clock, [this](const std::string& text) { on_note ? on_note(text) : Note(text); });
  // A certificate that is not there is not a job that is not there, and a key that may not be read is no refusal.
  if (client.ok() || absl::IsInvalidArgument(client.status())) return client;
  return absl::UnknownError(client.status().message());
}

void Session::Note(const std::string& text) {
  console.err << "bertctl: " << text << "\n";
  console.err.flush();
}

ExitCode Session::Fail(const absl::Status& status, ExitCode code) {
  const std::string message(status.message());
  if (IsHandshakeFailure(status)) {
    Note(
        fmt::format("the coordinator at {} did not accept this connection ({})\n  Check --tls-cert, --tls-key and "
                    "--tls-ca (or --insecure where it serves without TLS).",
                    options.address, message));
    return ExitCode::kUnauthenticated;
  }
  if (absl::IsUnimplemented(status)) {
    Note(fmt::format("what answers at {} is no coordinator, or one of another version ({})", options.address, message));
    return code;
  }
  switch (code) {
    case ExitCode::kUnreachable:
      Note(
          fmt::format("cannot reach the coordinator at {} ({})\n  Is it running there? Name another with --coordinator "
                      "HOST:PORT or BERT_COORDINATOR; where it serves with TLS, give --tls-cert, --tls-key, --tls-ca.",
                      options.address, InnermostCause(message)));
      break;
    case ExitCode::kJobNotFound:
      Note(message + "\n  `bertctl list` shows all jobs.");
      break;
    default:
      Note(message);
  }
  return code;
}

void AddOutputOption(CLI::App& command, std::vector<OutputFormat> formats, OutputFormat& format) {
  std::map<std::string, OutputFormat> names;
  std::string list;
  format = formats.front();
  for (const OutputFormat allowed : formats) {
    for (const auto& [name, value] : FormatNames()) {
      if (value != allowed) continue;
      names[name] = value;
      list += (list.empty() ? "" : "|") + name;
    }
  }
  command
      .add_option_function<std::string>(
          "-o,--output",
          [names, list, &format](const std::string& name) {
            const auto found = names.find(name);
            if (found == names.end()) {
              throw CLI::ValidationError("--output", fmt::format("must be one of {}; it is '{}'", list, name));
            }
            format = found->second;
          },
          "Form of the output")
      ->type_name(list);
}

ExitCode FollowJob(Session& session, Client& client, const std::string& job_id, std::ostream& out, bool is_terminal) {
  ProgressDisplay display(out, is_terminal, session.console.width, session.clock);
  session.on_note = [&](const std::string& text) { display.Note("bertctl: " + text); };
  const absl::StatusOr<v1::Job> job = client.WatchJob(job_id, [&](const v1::Job& now) {
    display.Show(now);
    return out.good();
  });
  display.Close();
  session.on_note = {};
  if (job.ok()) {
    if (!out.good()) return ExitCode::kError;
    out << EndSummary(*job);
    return ExitCodeOf(job->state());
  }
  if (absl::IsCancelled(job.status()) || absl::IsDeadlineExceeded(job.status())) {
    session.Note(fmt::format(
        "{}; job {} goes on\n  bertctl watch {}    to follow it again\n  bertctl cancel {}   to "
        "stop it",
        absl::IsCancelled(job.status()) ? "detached" : std::string(job.status().message()), job_id, job_id, job_id));
    return ExitCodeOf(job.status());
  }
  return session.Fail(job.status());
}

}  // namespace bert::ctl
