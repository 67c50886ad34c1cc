// bertctl submit
#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "absl/strings/str_split.h"
#include "bertctl/estimate_view.h"
#include "bertctl/session.h"
#include "common/files.h"
#include "common/spec/job_spec.h"
#include "common/status_macros.h"

namespace bert::ctl {
namespace {

struct SubmitOptions {
  std::string file;
  std::vector<std::string> overrides;
  std::string name;
  bool dry_run = false;
  bool follow = false;
  EstimateOptions estimate;
  OutputFormat format = OutputFormat::kName;
};

absl::StatusOr<std::string> ReadSpecText(const std::string& file, std::istream& in) {
  if (file == "-") {
    std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (in.bad()) return absl::UnknownError("cannot read standard input");
    return text;
  }
  return ReadFile(file);
}

struct CheckedSpec {
  // As the user gave it; the coordinator completes it with its own presets.
  v1::JobSpec given;
  v1::JobSpec complete;
};

absl::StatusOr<CheckedSpec> CheckSpec(const std::string& text, const SubmitOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (!options.name.empty()) overrides.push_back("name=" + options.name);
  ASSIGN_OR_RETURN(spec::ParsedSpec parsed,
                   spec::ParseJobSpec(text, options.file == "-" ? "standard input" : options.file, overrides));
  ASSIGN_OR_RETURN(v1::JobSpec complete, spec::Complete(parsed.spec, parsed.locations));
  RETURN_IF_ERROR(spec::Validate(complete, parsed.locations));
  return CheckedSpec{std::move(parsed.spec), std::move(complete)};
}

ExitCode FailSpec(Session& session, const SubmitOptions& options, const absl::Status& status) {
  const std::string message(status.message());
  session.console.err << message << "\n";
  const size_t problems = std::vector<std::string>(absl::StrSplit(message, '\n')).size();
  session.Note(fmt::format("{} problem{} in {}; nothing was submitted", problems, problems == 1 ? "" : "s",
                           options.file == "-" ? "standard input" : options.file));
  return ExitCode::kInvalidSpec;
}

ExitCode FailSubmit(Session& session, const absl::Status& status) {
  if (absl::IsCancelled(status)) {
    session.Note("interrupted before the coordinator answered; `bertctl list` shows whether it has the job");
    return ExitCode::kInterrupted;
  }
  return session.Fail(status, ExitCodeOfSubmit(status));
}

void PrintJob(Console& console, OutputFormat format, const v1::Job& job) {
  if (format == OutputFormat::kJson) {
    console.out << ToJson(job);
  } else if (format == OutputFormat::kYaml) {
    console.out << ToYaml(job);
  } else {
    console.out << job.id() << "\n";
  }
  console.out.flush();
}

ExitCode DryRun(Session& session, Client& client, const SubmitOptions& options, const CheckedSpec& spec) {
  // Before the coordinator is asked, so that the complete spec can be seen without one.
  session.console.out << (options.format == OutputFormat::kJson ? ToJson(spec.complete) : ToYaml(spec.complete));
  session.console.out.flush();
  session.Note(EstimateText(spec.complete, options.estimate));
  const absl::StatusOr<v1::Job> job = client.SubmitJob(spec.given, session.console.user, true);
  if (!job.ok()) {
    if (ExitCodeOfSubmit(job.status()) == ExitCode::kUnreachable) session.Note("the spec itself is valid");
    return FailSubmit(session, job.status());
  }
  session.Note("the spec is valid and the coordinator would take it; nothing was submitted" +
               (job->reason().empty() ? "" : ": " + job->reason()));
  return ExitCode::kOk;
}

ExitCode Submit(Session& session, const SubmitOptions& options) {
  const absl::StatusOr<std::string> text = ReadSpecText(options.file, session.console.in);
  if (session.shutdown.Requested()) {
    session.Note("interrupted; nothing was submitted");
    return ExitCode::kInterrupted;
  }
  if (!text.ok()) return session.Fail(Annotate(text.status(), "cannot read the job"), ExitCode::kError);
  const absl::StatusOr<CheckedSpec> spec = CheckSpec(*text, options);
  if (!spec.ok()) return FailSpec(session, options, spec.status());
  const absl::StatusOr<std::unique_ptr<Client>> client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  if (options.dry_run) return DryRun(session, **client, options, *spec);

  const absl::StatusOr<v1::Job> job = (*client)->SubmitJob(spec->given, session.console.user, false);
  if (!job.ok()) return FailSubmit(session, job.status());
  PrintJob(session.console, options.format, *job);
  if (options.follow) {
    return FollowJob(session, **client, job->id(), session.console.err, session.console.err_is_terminal);
  }
  session.Note(fmt::format("submitted; `bertctl watch {}` follows it", job->id()));
  return ExitCode::kOk;
}

}  // namespace

void AddSubmitCommand(CLI::App& app, Session& session) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* const command = app.add_subcommand("submit", "Queue a job; prints its id");
  command->add_option("-f,--file", options->file, "The job in YAML; '-' reads standard input")->required();
  command->add_option("--set", options->overrides, "Override a field: --set train.steps=500 (may be repeated)")
      ->type_name("FIELD=VALUE")
      ->expected(1)
      ->take_all();
  command->add_option("--name", options->name, "The job's name; the same as --set name=NAME");
  command->add_flag(
      "--dry-run", options->dry_run,
      "Print the complete spec (-o yaml|json), estimate memory and time, and ask whether the nodes there are "
      "could hold it (exit 6 where not; without --dry-run such a job waits for nodes); change nothing");
  command
      ->add_option("--vocab-size", options->estimate.vocab_size,
                   "Of the dataset's tokenizer, for the estimate of --dry-run")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->capture_default_str();
  command
      ->add_option("--device-tflops", options->estimate.device_tflops,
                   "What a rank's device multiplies at, for the estimate of --dry-run; a trainer's log says it")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--device-gbytes-per-second", options->estimate.device_gbytes_per_second,
                   "Speed of a rank's memory, for the estimate of --dry-run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--follow", options->follow, "Show its progress until it ends; Ctrl-C detaches");
  AddOutputOption(*command, {OutputFormat::kName, OutputFormat::kJson, OutputFormat::kYaml}, options->format);
  command->footer(R"(Examples:
  bertctl submit -f examples/tiny-english.yaml --follow
  bertctl submit -f job.yaml --set train.steps=500 --set workers.max=4
  bertctl submit -f job.yaml --dry-run
  generate-job | bertctl submit -f - --name nightly
  id=$(bertctl submit -f job.yaml) && bertctl logs -f "$id")");
  command->callback(
      [&session, options] { session.action = [&session, options] { return Submit(session, *options); }; });
}

}  // namespace bert::ctl
