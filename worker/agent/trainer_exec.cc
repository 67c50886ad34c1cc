#include "worker/agent/trainer_exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace bert::agent {
namespace {

constexpr int kUsage = 2;
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;

}  // namespace

std::vector<std::string> ExecTrainerCommand(const std::string& worker, const std::vector<std::string>& argv) {
  std::vector<std::string> command = {worker, kExecTrainerFlag, absl::StrCat(getpid())};
  command.insert(command.end(), argv.begin(), argv.end());
  return command;
}

int ExecTrainer(int argc, char** argv) {
  pid_t parent = 0;
  if (argc < 4 || !absl::SimpleAtoi(argv[2], &parent)) {
    fprintf(stderr, "bert-worker: %s PARENT_PID PROGRAM [ARGUMENT...] is for bert-worker's own use\n",
            kExecTrainerFlag);
    return kUsage;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // It may have died before the line above, and then no signal comes.
  if (getppid() != parent) raise(SIGKILL);
  execv(argv[3], argv + 3);
  const int error = errno;
  fprintf(stderr, "bert-worker: cannot execute %s: %s\n", argv[3], strerror(error));
  return error == ENOENT ? kNotFound : kNotExecutable;
}

}  // namespace bert::agent
