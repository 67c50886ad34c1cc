// Where a rank's wall time goes.
#ifndef BERT_WORKER_TRAINER_STEP_TIME_H_
#define BERT_WORKER_TRAINER_STEP_TIME_H_

#include <array>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "worker/trainer/coordinator.h"

namespace bert::trainer {

enum class Phase { kDataWait, kCompute, kAllReduce, kOptimizer, kCheckpoint, kValidation };
inline constexpr int kPhaseCount = 6;

// Thread-safe: one thread measures, another takes.
class StepTime {
 public:
  // `clock` must outlive it.
  explicit StepTime(Clock* clock) : clock_(clock), taken_(clock->Monotonic()) {}

  void Add(Phase phase, absl::Duration spent);

  // Shares of the wall time since the last call.
  TimeShares Take();

  // Since the start, for rates over intervals of the caller's choice.
  absl::Duration Total(Phase phase) const;

  absl::Duration Monotonic() const { return clock_->Monotonic(); }

 private:
  Clock* const clock_;
  mutable Mutex mutex_;
  absl::Duration taken_ ABSL_GUARDED_BY(mutex_);
  std::array<absl::Duration, kPhaseCount> since_taken_ ABSL_GUARDED_BY(mutex_) = {};
  std::array<absl::Duration, kPhaseCount> total_ ABSL_GUARDED_BY(mutex_) = {};
};

// Counts its lifetime under a phase.
class PhaseTimer {
 public:
  PhaseTimer(StepTime* time, Phase phase) : time_(time), phase_(phase), start_(time->Monotonic()) {}
  ~PhaseTimer() { time_->Add(phase_, time_->Monotonic() - start_); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  StepTime* const time_;
  const Phase phase_;
  const absl::Duration start_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_STEP_TIME_H_
