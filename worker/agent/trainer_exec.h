// The small step between agent and trainer that ties the trainer's life to the agent's.
#ifndef BERT_WORKER_AGENT_TRAINER_EXEC_H_
#define BERT_WORKER_AGENT_TRAINER_EXEC_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace bert::agent {

// argv[1] of a bert-worker that shall become a trainer.
inline constexpr char kExecTrainerFlag[] = "--exec-trainer";

// The command that runs `argv` under this mode: `<worker> --exec-trainer <pid of this process> <argv...>`.
//
// The kernel's death signal is set by the child itself, so posix_spawn cannot do it, and it fires when the *thread*
// that spawned the child ends: spawn from one that lives as long as the process.
std::vector<std::string> ExecTrainerCommand(const std::string& worker, const std::vector<std::string>& argv);

// What such a bert-worker does: asks the kernel for SIGKILL when the parent dies, ends at once where that has already
// happened, and becomes the trainer. Returns only on failure, with the exit code: 127 not found, 126 not executable,
// 2 usage.
int ExecTrainer(int argc, char** argv);

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_TRAINER_EXEC_H_
