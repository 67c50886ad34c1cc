// Which rows each step of a training has: its length, the borders of its phases and of its batch sizes.
//
// Every length of row has one endless order of the training split (an epoch after the other). The steps take their rows
// from the order of their phase's length, each where the last step of that length ended: so every row comes once an
// epoch, whatever the batch sizes, and which rows a step has follows from the job and the dataset alone.
//
//   phases 90% at 128, 10% at 512, 1,000 steps of 256 rows, ramp from 64 over the first 20% in 2 stages:
//     steps    0 to 100    128 tokens    64 rows a step, from row 0
//     steps  100 to 200    128 tokens   160 rows a step, from row 6,400
//     steps  200 to 900    128 tokens   256 rows a step, from row 22,400
//     steps  900 to 1000   512 tokens   256 rows a step, from row 0
#ifndef BERT_WORKER_TRAINER_STEP_PLAN_H_
#define BERT_WORKER_TRAINER_STEP_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/assignment.h"

namespace bert::trainer {

// Consecutive steps of one phase and one batch size: [first_step, last_step), 0-based.
struct Stretch {
  int32_t phase = 0;
  int64_t first_step = 0;
  int64_t last_step = 0;
  int32_t global_batch_size = 1;
  int64_t first_row = 0;  // Of its first step, in the order of its phase's length.

  friend bool operator==(const Stretch&, const Stretch&) = default;
};

// What the dataset has at one phase's length.
struct PhaseRows {
  int64_t train = 0;
  int64_t validation = 0;
};

// A value: copied freely, never changed.
struct StepPlan {
  int64_t total_steps = 0;
  int64_t warmup_steps = 0;
  std::vector<PhasePlan> phases;
  std::vector<PhaseRows> rows;     // [phases]
  std::vector<Stretch> stretches;  // In order; they cover [0, total_steps). None is empty.

  // The stretch of step `step` of [0, total_steps).
  const Stretch& At(int64_t step) const;
  // What `steps` completed steps have read, in passes over the training split.
  double EpochsAfter(int64_t steps) const;
  // Everything that decides which rows a step has and how they are weighed, in words; equal for equal trainings.
  std::string Description() const;
};

// The phases of `plan`, or where it names none the one that its fields make.
std::vector<PhasePlan> PhasesOf(const JobPlan& plan);

// How the learning rate falls, in words.
std::string DecayDescription(const OptimizerPlan& optimizer);

// `rows` are those of each of PhasesOf(plan). A duration in rows, epochs or tokens becomes a number of steps that
// suffices and of which one less does not. INVALID_ARGUMENT: the training would be longer than 10^9 steps, or its
// warmup no shorter than itself.
absl::StatusOr<StepPlan> PlanSteps(const JobPlan& plan, const std::vector<PhaseRows>& rows);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_STEP_PLAN_H_
