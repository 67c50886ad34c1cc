// A checkpoint directory: at once a Hugging Face model directory and the state of the training.
//
//   config.json, model.safetensors (fp32), tokenizer files
//   training_state.json      TrainingState
//   optimizer.safetensors    exp_avg, exp_avg_sq: fp32 [n], laid out as the parameters' flat buffer
//   manifest.json            size and digest of each of these; its own digest is what the coordinator commits
#ifndef BERT_WORKER_TRAINER_CHECKPOINT_H_
#define BERT_WORKER_TRAINER_CHECKPOINT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/dataset_description.h"

namespace bert::trainer {

// What must agree for a training to go on, and where it stands. There is no random state: every seed follows from
// `seed` and the step.
struct TrainingState {
  std::string job_id;
  int64_t step = 0;  // Completed.
  uint64_t seed = 0;
  int64_t total_steps = 0;
  int64_t warmup_steps = 0;
  double learning_rate = 0;
  int32_t global_batch_size = 0;
  int32_t max_seq_len = 0;
  bool deterministic = false;
  int32_t lanes = 1;  // Where deterministic.
  std::string dataset;
  std::string dataset_digest;
  std::string recipe =
      {};  // Phases, batch sizes, masking and decay, in words; empty in checkpoints of earlier versions.

  friend bool operator==(const TrainingState&, const TrainingState&) = default;
};

// A copy of all that changes. fp32 [n] on the CPU.
struct CheckpointTensors {
  at::Tensor master;
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
};

struct CheckpointContent {
  model::ModelConfig config;
  std::vector<model::ParameterInfo> infos;
  std::vector<TokenizerFile> tokenizer_files;
  TrainingState state;
  CheckpointTensors tensors;
  int64_t generation = 1;  // That writes it.
};

struct WrittenCheckpoint {
  std::string directory;
  std::string digest;
  int64_t size_bytes = 0;
};

// <job_directory>/step-<8 digits>, from the second generation on with -g<generation> behind it: no two generations
// write to one name, so a process of an older one that wakes up late cannot touch what a newer one has committed.
std::string CheckpointDirectory(const std::string& job_directory, int64_t step, int64_t generation);

// About how many bytes the files will have.
int64_t CheckpointBytes(const CheckpointContent& content);

// Writes everything under a temporary name, syncs it and renames it to CheckpointDirectory(job_directory, state.step,
// generation), never over a directory that holds files. `cancelled` is asked between files. On any error the temporary
// directory is gone. RESOURCE_EXHAUSTED: the disk is full. CANCELLED.
absl::StatusOr<WrittenCheckpoint> WriteCheckpoint(const CheckpointContent& content, const std::string& job_directory,
                                                  const std::function<bool()>& cancelled);

// Removes the temporary directories that processes of generations before `generation` have left in `job_directory`.
absl::Status RemoveTemporaries(const std::string& job_directory, int64_t generation);

// Removes the checkpoints of generations before `generation` whose names are not among those of the directories
// `committed`: a process died between rename and commit, or between a commit and the deletion of what it dropped.
// Earlier generations commit no more, so what is missing there will never exist; newer ones are none of this process's
// business, for it may be the one that is stale. What has no checkpoint's name stays.
absl::Status RemoveUncommitted(const std::string& job_directory, int64_t generation,
                               const std::vector<std::string>& committed);

// Checks manifest.json against the committed `digest` and every file against the manifest. DATA_LOSS or NOT_FOUND names
// the damaged or missing file.
absl::Status VerifyCheckpoint(const std::string& directory, const std::string& digest);

absl::StatusOr<TrainingState> ReadTrainingState(const std::string& directory);

// FAILED_PRECONDITION names the fields in which `found` cannot go on as `wanted`; step and job are not compared.
absl::Status CheckCompatible(const TrainingState& found, const TrainingState& wanted, const std::string& directory);

// Into the model, and into exp_avg and exp_avg_sq [n] on any device. FAILED_PRECONDITION: the checkpoint is of another
// model (fields named).
absl::Status LoadCheckpoint(const std::string& directory, model::MaskedLm& model, at::Tensor exp_avg,
                            at::Tensor exp_avg_sq);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_CHECKPOINT_H_
