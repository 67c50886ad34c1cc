// One run of bertctl: its console, its connection, and how it says that something went wrong.
#ifndef BERT_BERTCTL_SESSION_H_
#define BERT_BERTCTL_SESSION_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "bertctl/client.h"
#include "bertctl/console.h"
#include "bertctl/exit_code.h"
#include "bertctl/output_format.h"
#include "bertctl/progress_display.h"

namespace bert::ctl {

// Lives as long as the run. The references outlive it. Not thread-safe.
struct Session {
  Console& console;
  ShutdownSignal& shutdown;
  Clock& clock;
  ClientOptions options = {};
  // What the command line asks for; set while it is parsed.
  std::function<ExitCode()> action = {};
  // Where notes of the connection go; by default a line on `err`.
  std::function<void(const std::string&)> on_note = {};

  absl::StatusOr<std::unique_ptr<Client>> Connect();
  // A line on `err`.
  void Note(const std::string& text);
  // Says what went wrong and what to do next.
  ExitCode Fail(const absl::Status& status) { return Fail(status, ExitCodeOf(status)); }
  ExitCode Fail(const absl::Status& status, ExitCode code);
};

// Adds -o/--output with the given forms, the first of which is the default, to `command`. `format` outlives it.
void AddOutputOption(CLI::App& command, std::vector<OutputFormat> formats, OutputFormat& format);

// Shows a job's progress on `out` until it has ended, and its summary. 0, 100, 103 as it ended; on Ctrl-C says how to
// go on. `out` is one of the console's streams.
ExitCode FollowJob(Session& session, Client& client, const std::string& job_id, std::ostream& out, bool is_terminal);

// The command groups. Each adds its commands to `app`; all outlive the run.
void AddSubmitCommand(CLI::App& app, Session& session);
void AddJobCommands(CLI::App& app, Session& session);
void AddFollowCommands(CLI::App& app, Session& session);
void AddStepCommands(CLI::App& app, Session& session);
void AddResourceCommands(CLI::App& app, Session& session);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_SESSION_H_
