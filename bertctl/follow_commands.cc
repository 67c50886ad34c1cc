// bertctl watch, logs
#include <fmt/format.h>

#include <memory>

#include "bertctl/session.h"
#include "bertctl/value_format.h"

namespace bert::ctl {
namespace {

struct FollowOptions {
  std::string id;
  bool follow = false;
  int rank = -1;
  int tail = 0;
  bool timestamps = false;
  OutputFormat format = OutputFormat::kTable;
};

ExitCode Detached(Session& session, const absl::Status& status, const std::string& again) {
  session.Note(fmt::format("{}; the job goes on\n  {}    to follow it again",
                           absl::IsCancelled(status) ? "detached" : std::string(status.message()), again));
  return ExitCodeOf(status);
}

ExitCode WatchAsJson(Session& session, Client& client, const std::string& id) {
  const absl::StatusOr<v1::Job> job = client.WatchJob(id, [&](const v1::Job& now) {
    session.console.out << ToJsonLine(now);
    session.console.out.flush();
    return session.console.out.good();
  });
  if (job.ok()) return session.console.out.good() ? ExitCodeOf(job->state()) : ExitCode::kError;
  if (!absl::IsCancelled(job.status()) && !absl::IsDeadlineExceeded(job.status())) return session.Fail(job.status());
  return Detached(session, job.status(), "bertctl watch " + id);
}

ExitCode Watch(Session& session, const FollowOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  if (options.format == OutputFormat::kJson) return WatchAsJson(session, **client, options.id);
  return FollowJob(session, **client, options.id, session.console.out, session.console.out_is_terminal);
}

std::string LogText(const v1::LogLine& line, const FollowOptions& options, bool is_terminal) {
  std::string text;
  if (options.timestamps) {
    text += absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ ", ToTime(line.time()), absl::UTCTimeZone());
  }
  if (options.rank < 0) text += fmt::format("rank {} | ", line.rank());
  return text + (is_terminal ? Printable(line.text()) : line.text()) + "\n";
}

ExitCode Logs(Session& session, const FollowOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::StreamJobLogsRequest request;
  request.set_job_id(options.id);
  if (options.rank >= 0) request.set_rank(options.rank);
  request.set_tail(options.tail);
  request.set_follow(options.follow);
  std::ostream& out = session.console.out;
  const absl::Status status = (*client)->StreamJobLogs(request, [&](const v1::LogLine& line) {
    out << (options.format == OutputFormat::kJson ? ToJsonLine(line)
                                                  : LogText(line, options, session.console.out_is_terminal));
    if (options.follow) out.flush();
    return out.good();
  });
  if (status.ok()) return ExitCode::kOk;
  if (absl::IsCancelled(status) || absl::IsDeadlineExceeded(status)) {
    return Detached(session, status, "bertctl logs -f " + options.id);
  }
  return session.Fail(status);
}

}  // namespace

void AddFollowCommands(CLI::App& app, Session& session) {
  auto watch_options = std::make_shared<FollowOptions>();
  CLI::App* const watch = app.add_subcommand(
      "watch", "Follow a job's progress until it ends: step, loss, tokens/s, time left. Ctrl-C detaches");
  watch->add_option("JOB", watch_options->id, "The job's id")->required();
  AddOutputOption(*watch, {OutputFormat::kTable, OutputFormat::kJson}, watch_options->format);
  watch->footer(
      "Examples:\n  bertctl watch JOB\n  bertctl watch JOB --timeout 1h && echo trained\n"
      "  bertctl watch JOB -o json");
  watch->callback([&session, watch_options] {
    session.action = [&session, watch_options] { return Watch(session, *watch_options); };
  });

  auto log_options = std::make_shared<FollowOptions>();
  CLI::App* const logs = app.add_subcommand("logs", "Print what a job's ranks wrote");
  logs->add_option("JOB", log_options->id, "The job's id")->required();
  logs->add_flag("-f,--follow", log_options->follow, "Go on until the job has ended; Ctrl-C detaches");
  logs->add_option("--rank", log_options->rank, "Only this rank")->check(CLI::NonNegativeNumber);
  logs->add_option("--tail", log_options->tail, "Start with the last so many lines")->check(CLI::PositiveNumber);
  logs->add_flag("--timestamps", log_options->timestamps, "Begin each line with its time (UTC)");
  AddOutputOption(*logs, {OutputFormat::kTable, OutputFormat::kJson}, log_options->format);
  logs->footer(
      "Examples:\n  bertctl logs JOB --tail 20\n  bertctl logs -f JOB --rank 0\n"
      "  bertctl logs JOB --timestamps | grep loss");
  logs->callback(
      [&session, log_options] { session.action = [&session, log_options] { return Logs(session, *log_options); }; });
}

}  // namespace bert::ctl
