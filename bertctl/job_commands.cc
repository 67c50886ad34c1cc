// bertctl list, get, describe, events, cancel
#include <fmt/format.h>

#include <memory>

#include "absl/strings/ascii.h"
#include "bertctl/job_view.h"
#include "bertctl/session.h"
#include "bertctl/value_format.h"
#include "common/spec/job_spec.h"

namespace bert::ctl {
namespace {

using enum OutputFormat;

struct JobOptions {
  std::string id;
  std::vector<std::string> ids;
  std::vector<v1::JobState> states;
  std::string user;
  int limit = 0;
  bool exit_code = false;
  OutputFormat format = kTable;
};

v1::JobState ParseState(const std::string& name) {
  std::string names;
  for (int i = 0; i < v1::JobState_descriptor()->value_count(); ++i) {
    const auto& value = *v1::JobState_descriptor()->value(i);
    if (value.number() == 0) continue;
    const std::string known = spec::EnumValueName(value);
    if (absl::AsciiStrToLower(name) == known) return static_cast<v1::JobState>(value.number());
    names += (names.empty() ? "" : ", ") + known;
  }
  throw CLI::ValidationError("--state", fmt::format("must be one of {}; it is '{}'", names, name));
}

ExitCode List(Session& session, const JobOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto jobs = (*client)->ListJobs(options.states, options.user, options.limit);
  if (!jobs.ok()) return session.Fail(jobs.status());
  std::ostream& out = session.console.out;
  if (options.format == kJson || options.format == kYaml) {
    v1::ListJobsResponse all;
    for (const v1::Job& job : *jobs) *all.add_jobs() = job;
    out << (options.format == kJson ? ToJson(all) : ToYaml(all));
  } else if (options.format == kName) {
    for (const v1::Job& job : *jobs) out << job.id() << "\n";
  } else if (jobs->empty()) {
    session.Note("no jobs");
  } else {
    out << JobTable(*jobs, options.format == kWide, session.clock.Now(), session.console.color());
  }
  return ExitCode::kOk;
}

ExitCode Get(Session& session, const JobOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto job = (*client)->GetJob(options.id);
  if (!job.ok()) return session.Fail(job.status());
  std::ostream& out = session.console.out;
  switch (options.format) {
    case kJson:
      out << ToJson(*job);
      break;
    case kYaml:
      out << ToYaml(*job);
      break;
    case kName:
      out << job->id() << "\n";
      break;
    default:
      out << JobTable({*job}, options.format == kWide, session.clock.Now(), session.console.color());
  }
  return options.exit_code ? ExitCodeOf(job->state()) : ExitCode::kOk;
}

ExitCode Describe(Session& session, const JobOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  JobDescription description;
  auto job = (*client)->GetJob(options.id);
  if (!job.ok()) return session.Fail(job.status());
  auto checkpoints = (*client)->ListCheckpoints(options.id);
  if (!checkpoints.ok()) return session.Fail(checkpoints.status());
  auto events = (*client)->ListJobEvents(options.id);
  if (!events.ok()) return session.Fail(events.status());
  session.console.out << DescribeJob({std::move(*job), std::move(*checkpoints), std::move(*events)},
                                     session.clock.Now(), session.console.color());
  return ExitCode::kOk;
}

ExitCode Events(Session& session, const JobOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto events = (*client)->ListJobEvents(options.id);
  if (!events.ok()) return session.Fail(events.status());
  std::ostream& out = session.console.out;
  if (options.format == kJson || options.format == kYaml) {
    v1::ListJobEventsResponse all;
    for (const v1::JobEvent& event : *events) *all.add_events() = event;
    out << (options.format == kJson ? ToJson(all) : ToYaml(all));
  } else {
    out << EventTable(*events, session.clock.Now(), session.console.color());
  }
  return ExitCode::kOk;
}

ExitCode Cancel(Session& session, const JobOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  ExitCode worst = ExitCode::kOk;
  for (const std::string& id : options.ids) {
    const auto job = (*client)->CancelJob(id);
    if (!job.ok()) {
      worst = session.Fail(job.status());
      if (worst != ExitCode::kJobNotFound) return worst;
      continue;
    }
    session.console.out << job->id() << "\n";
    const bool cancelled = job->state() == v1::JOB_STATE_CANCELLED;
    session.Note(fmt::format("job {} {}", job->id(),
                             cancelled                ? "is cancelled"
                             : HasEnded(job->state()) ? "had already ended: " + StateName(job->state())
                                                      : "is being cancelled; its checkpoints stay"));
  }
  return worst;
}

// A command on one job.
CLI::App* AddJobCommand(CLI::App& app, Session& session, const std::shared_ptr<JobOptions>& options,
                        const std::string& name, const std::string& help,
                        ExitCode (*run)(Session&, const JobOptions&)) {
  CLI::App* const command = app.add_subcommand(name, help);
  command->add_option("JOB", options->id, "The job's id")->required();
  command->callback(
      [&session, options, run] { session.action = [&session, options, run] { return run(session, *options); }; });
  return command;
}

}  // namespace

void AddJobCommands(CLI::App& app, Session& session) {
  auto list_options = std::make_shared<JobOptions>();
  CLI::App* const list = app.add_subcommand("list", "Show jobs, newest first");
  list->add_option_function<std::vector<std::string>>(
          "--state",
          [list_options](const std::vector<std::string>& names) {
            for (const std::string& name : names) list_options->states.push_back(ParseState(name));
          },
          "Only jobs in this state (may be repeated): pending, running, failed, ...")
      ->type_name("STATE")
      ->expected(1)
      ->take_all();
  list->add_option("--user", list_options->user, "Only jobs of this user");
  list->add_option("--limit", list_options->limit, "At most so many")->check(CLI::PositiveNumber);
  AddOutputOption(*list, {kTable, kWide, kJson, kYaml, kName}, list_options->format);
  list->footer(
      "Examples:\n  bertctl list\n  bertctl list --state running --state pending -o wide\n"
      "  bertctl list --user \"$USER\" -o name");
  list->callback(
      [&session, list_options] { session.action = [&session, list_options] { return List(session, *list_options); }; });

  auto get_options = std::make_shared<JobOptions>();
  CLI::App* const get = AddJobCommand(app, session, get_options, "get", "Show one job", Get);
  get->add_flag("--exit-code", get_options->exit_code,
                "Exit with the job's state: 0 succeeded, 100 failed, 101 not ended, 103 cancelled");
  AddOutputOption(*get, {kTable, kWide, kJson, kYaml, kName}, get_options->format);
  get->footer(
      "Examples:\n  bertctl get JOB\n  bertctl get JOB -o json | jq .last_step.loss\n"
      "  bertctl get JOB --exit-code -o name");

  auto describe_options = std::make_shared<JobOptions>();
  CLI::App* const describe =
      AddJobCommand(app, session, describe_options, "describe",
                    "Show all that is known of a job: state, ranks, checkpoints, root cause, events, spec", Describe);
  describe->footer("Example:\n  bertctl describe JOB");

  auto event_options = std::make_shared<JobOptions>();
  CLI::App* const events =
      AddJobCommand(app, session, event_options, "events", "Show what happened to a job, oldest first", Events);
  AddOutputOption(*events, {kTable, kJson, kYaml}, event_options->format);
  events->footer("Examples:\n  bertctl events JOB\n  bertctl events JOB -o json");

  auto cancel_options = std::make_shared<JobOptions>();
  CLI::App* const cancel = app.add_subcommand("cancel", "Stop jobs; their checkpoints stay");
  cancel->add_option("JOB", cancel_options->ids, "Ids of jobs")->required();
  cancel->footer("Examples:\n  bertctl cancel JOB\n  bertctl list --state pending -o name | xargs bertctl cancel");
  cancel->callback([&session, cancel_options] {
    session.action = [&session, cancel_options] { return Cancel(session, *cancel_options); };
  });
}

}  // namespace bert::ctl
