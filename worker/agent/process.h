// A child process with its output in a pipe.
#ifndef BERT_WORKER_AGENT_PROCESS_H_
#define BERT_WORKER_AGENT_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace bert::agent {

// How a process ended: by exit(exit_code), or by a signal (then signal is not 0).
struct ExitStatus {
  int exit_code = 0;
  int signal = 0;

  bool ok() const { return exit_code == 0 && signal == 0; }
  // "exit code 1", "signal 9 (Killed)".
  std::string ToString() const;
};

// Owns one child and its process group; the destructor kills what is left of both. Not thread-safe.
//
// The child dies with its parent even by kill -9 only where it runs under ExecTrainer (trainer_exec.h).
class Process {
 public:
  struct Options {
    // argv[0] is the path of the program.
    std::vector<std::string> argv;
    // The whole environment, "NAME=value" each.
    std::vector<std::string> environment;
  };

  // Starts it in a new process group, with default signal handling, an empty signal mask, /dev/null as stdin, and
  // stdout and stderr in one pipe. NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED or INTERNAL names the program.
  static absl::StatusOr<std::unique_ptr<Process>> Spawn(const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Readable (poll) once the process has ended.
  int exit_fd() const { return exit_fd_; }
  // Non-blocking read end of its stdout and stderr.
  int output_fd() const { return output_fd_; }

  // To the whole group. Nothing happens once it has been reaped.
  void Signal(int number);
  // Without blocking: how it ended, or nothing while it runs. What remains of its group is killed first.
  std::optional<ExitStatus> TryReap();

 private:
  Process(pid_t pid, int exit_fd, int output_fd) : pid_(pid), exit_fd_(exit_fd), output_fd_(output_fd) {}

  const pid_t pid_;
  const int exit_fd_;
  const int output_fd_;
  std::optional<ExitStatus> status_;
};

// This process's environment with `changes` ("NAME=value") in place of the variables of the same name.
std::vector<std::string> EnvironmentWith(const std::vector<std::string>& changes);

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_PROCESS_H_
