// What one trainer has to do, as plain values: bert.v1.Assignment for the half of the trainer that sees no protos.
#ifndef BERT_WORKER_TRAINER_ASSIGNMENT_H_
#define BERT_WORKER_TRAINER_ASSIGNMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/sampling/row_format.h"
#include "worker/model/model_config.h"
#include "worker/trainer/schedule.h"

namespace bert::trainer {

// Shares in [0, 1].
struct MaskingPlan {
  double probability = 0.15;
  double mask_share = 0.8;
  double random_share = 0.1;
  bool whole_word = true;
  int32_t ngram_max = 1;
  int32_t max_predictions_per_seq = 0;  // 0: no such limit.
};

struct OptimizerPlan {
  double learning_rate = 1e-4;  // At the end of the warmup.
  int64_t warmup_steps = 0;
  double warmup_share = 0;  // Of all steps, instead of warmup_steps where it is not 0.
  Decay decay = Decay::kLinear;
  double final_share = 0;  // Of the peak, at the last step.
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0.01;
  double max_grad_norm = 1.0;  // 0: no clipping.
};

// How long to train: without a number of steps, one of these is not 0.
struct DurationPlan {
  int64_t rows = 0;
  double epochs = 0;
  int64_t tokens = 0;  // Rows times their max_seq_len.
};

// As bert.v1.PhaseSpec, complete.
struct PhasePlan {
  double share = 1;   // Of all steps.
  int64_t steps = 0;  // Instead of the share where it is not 0.
  int32_t max_seq_len = 128;
  int32_t global_batch_size = 1;
  int32_t micro_batch_size = 1;
  MaskingPlan masking = {};
  double learning_rate_scale = 1;
};

// The batch grows from `start` rows to its phase's in equal stages over the first steps.
struct BatchRampPlan {
  int32_t start = 0;  // 0: no ramp.
  double share = 0;   // Of all steps.
  int32_t stages = 1;
};

// The job spec, complete and checked.
struct JobPlan {
  // vocab_size and pad_token_id are the dataset's; they are set once it is known.
  model::ModelConfig model;
  model::Precision precision = model::Precision::kFp32;
  std::string dataset;
  std::string dataset_digest;  // Empty: any.
  int32_t max_seq_len = 128;
  sampling::RowFormat row_format = sampling::RowFormat::kPacked;
  MaskingPlan masking;
  OptimizerPlan optimizer;
  int64_t steps = 1;  // 0 where `duration` says how long.
  DurationPlan duration;
  std::vector<PhasePlan> phases;  // Empty: one, of the fields of this struct.
  BatchRampPlan batch_ramp;
  int32_t global_batch_size = 1;
  int32_t micro_batch_size = 1;
  int64_t log_every_steps = 10;
  int64_t validation_every_steps = 0;  // 0: at the end only.
  int64_t validation_rows = 0;         // 0: all.
  int32_t validation_samples = 0;      // Sentences whose predictions are shown.
  double validation_target_loss = 0;   // The training ends where a validation's loss is that low; 0: it does not.
  int64_t nonfinite_steps_max = 0;     // In a row.
  int64_t checkpoint_every_steps = 1000;
  int32_t workers_max = 1;
  uint64_t seed = 1;
  bool deterministic = false;
};

struct ResumePoint {
  int64_t step = 0;
  std::string directory;
  std::string digest;  // Of its manifest.json.
};

struct Assignment {
  std::string job_id;
  int64_t generation = 0;
  int rank = 0;
  int world_size = 1;
  int slot = 0;
  bool cuda = false;  // Device 0 of those that CUDA_VISIBLE_DEVICES shows; else CPU.
  JobPlan plan;
  std::vector<ResumePoint> resume_points;  // Newest first.
  std::vector<std::string> loaders;        // host:port
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_ASSIGNMENT_H_
