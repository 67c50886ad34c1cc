// Step after step, from rows to updated weights.
#ifndef BERT_WORKER_TRAINER_TRAINING_LOOP_H_
#define BERT_WORKER_TRAINER_TRAINING_LOOP_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/collective/collective.h"
#include "worker/model/masked_lm.h"
#include "worker/record/training_record.h"
#include "worker/trainer/adamw.h"
#include "worker/trainer/assignment.h"
#include "worker/trainer/batch_source.h"
#include "worker/trainer/checkpoint_writer.h"
#include "worker/trainer/dataset_description.h"
#include "worker/trainer/progress_reporter.h"
#include "worker/trainer/step_plan.h"
#include "worker/trainer/step_time.h"

namespace bert::trainer {

// What a training is made of. All ranks hold the same weights and moments, of `first_step` completed steps. Borrows
// everything.
struct Training {
  const JobPlan& plan;
  const DatasetDescription& dataset;  // At the length of the first phase.
  const StepPlan& steps;
  TrainingState state;  // Of a checkpoint, but for its step.
  model::MaskedLm& model;
  AdamW& optimizer;
  collective::Collective& group;
  const OpenBatchSource& open_batches;
  ProgressReporter& reporter;
  StepTime& time;
  CheckpointWriter* checkpoints = nullptr;   // Of rank 0; null on the others.
  record::TrainingRecord* record = nullptr;  // Likewise; null: none is kept.
  double peak_flops = 0;                     // Of this rank's device; 0: not known.
  int64_t first_step = 0;
};

enum class TrainingEnd {
  kDone,     // Every step is done, or the target loss is reached, and, on rank 0, the last checkpoint is committed.
  kStopped,  // The coordinator asked for it.
};

// Rank 0 logs. A step whose loss or gradient is not finite changes no weight. UNAVAILABLE: a peer is lost. INTERNAL:
// more than plan.nonfinite_steps_max such steps in a row; names rank and tensor. Others as BatchSource and
// CheckpointWriter::Wait.
absl::StatusOr<TrainingEnd> Train(const Training& training);

// The rows that a validation uses, of a split with `validation_rows`.
int64_t ValidationRows(const JobPlan& plan, int64_t validation_rows);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_TRAINING_LOOP_H_
