#include "worker/agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/files.h"

extern char** environ;

namespace bert::agent {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::string ExitStatus::ToString() const {
  if (signal != 0) return absl::StrCat("signal ", signal, " (", strsignal(signal), ")");
  return absl::StrCat("exit code ", exit_code);
}

absl::StatusOr<std::unique_ptr<Process>> Process::Spawn(const Options& options) {
  BERT_CHECK(!options.argv.empty()) << "a process needs a program";
  const std::string what = absl::StrCat("cannot start ", options.argv[0]);
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return SystemError(errno, what);
  // The child's ends are made by dup2, so everything here may be close-on-exec.
  auto close_read = absl::MakeCleanup([&] { close(pipe_fds[0]); });
  auto close_write = absl::MakeCleanup([&] { close(pipe_fds[1]); });
  BERT_CHECK(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK) == 0);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  auto destroy_actions = absl::MakeCleanup([&] { posix_spawn_file_actions_destroy(&actions); });
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDERR_FILENO);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  auto destroy_attributes = absl::MakeCleanup([&] { posix_spawnattr_destroy(&attributes); });
  // The agent's threads block SIGINT and SIGTERM and ignore SIGPIPE; a child must not inherit that.
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid = 0;
  const int error = posix_spawn(&pid, options.argv[0].c_str(), &actions, &attributes, Pointers(options.argv).data(),
                                Pointers(options.environment).data());
  if (error != 0) return SystemError(error, what);
  // glibc 2.36 declares pidfd_open without C linkage.
  const int exit_fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (exit_fd < 0) {
    const int pidfd_error = errno;
    kill(-pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return SystemError(pidfd_error, absl::StrCat(what, ": pidfd_open"));
  }
  std::move(close_read).Cancel();
  return std::unique_ptr<Process>(new Process(pid, exit_fd, pipe_fds[0]));
}

Process::~Process() {
  if (!status_.has_value()) {
    Signal(SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close(exit_fd_);
  close(output_fd_);
}

void Process::Signal(int number) {
  // Until it is reaped, its process id and so its group's cannot be anyone else's.
  if (!status_.has_value()) kill(-pid_, number);
}

std::optional<ExitStatus> Process::TryReap() {
  if (status_.has_value()) return status_;
  siginfo_t info = {};
  if (waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return std::nullopt;
  kill(-pid_, SIGKILL);
  BERT_CHECK(waitid(P_PID, pid_, &info, WEXITED) == 0) << strerror(errno);
  ExitStatus status;
  (info.si_code == CLD_EXITED ? status.exit_code : status.signal) = info.si_status;
  status_ = status;
  return status_;
}

std::vector<std::string> EnvironmentWith(const std::vector<std::string>& changes) {
  const auto name = [](const std::string& entry) { return entry.substr(0, entry.find('=')); };
  std::map<std::string, std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries[name(*entry)] = *entry;
  for (const std::string& change : changes) entries[name(change)] = change;
  std::vector<std::string> environment;
  for (auto& [key, entry] : entries) environment.push_back(std::move(entry));
  return environment;
}

}  // namespace bert::agent
