// How a trainer is called.
#ifndef BERT_WORKER_AGENT_TRAINER_COMMAND_H_
#define BERT_WORKER_AGENT_TRAINER_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bert/v1/nodes.pb.h"
#include "bert/v1/worker.pb.h"
#include "worker/agent/process.h"

namespace bert::agent {

// The same for every trainer of a node.
struct TrainerFlags {
  // Path of the bert-worker that ties it to this process.
  std::string worker;
  // Path of bert-trainer.
  std::string trainer;
  std::string coordinator;
  // --insecure, or --tls-cert and its companions.
  std::vector<std::string> credentials;
  std::string checkpoint_root;
  std::string node;
  // Where its peers reach it.
  std::string address;
  int threads = 1;
  // CUDA_VISIBLE_DEVICES of each slot; none of a node without devices.
  std::vector<std::string> devices = {};
};

// The command and environment for `assignment`, whose JSON form is in `assignment_file`. A CUDA rank sees its slot's
// device alone, a CPU rank none.
Process::Options TrainerCommand(const TrainerFlags& flags, const v1::Assignment& assignment,
                                const std::string& assignment_file);

// Whether `assignment` can run on a node with `slots`, and its ids can name files: INVALID_ARGUMENT says what is wrong.
absl::Status CheckAssignment(const v1::Assignment& assignment, const std::vector<v1::Slot>& slots);

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_TRAINER_COMMAND_H_
