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

// What had gone into each phase at one moment.
struct PhaseTotals {
  absl::Duration at;  // Of the monotonic clock.
  std::array<absl::Duration, kPhaseCount> spent = {};
};

// Shares of the wall time between two moments. A phase is counted at its end, so take both where none is under way.
TimeShares SharesBetween(const PhaseTotals& from, const PhaseTotals& to);

// Thread-safe.
class StepTime {
 public:
  // `clock` must outlive it.
  explicit StepTime(Clock* clock) : clock_(clock) {}

  void Add(Phase phase, absl::Duration spent);

  // Since the start.
  PhaseTotals Totals() const;
  absl::Duration Total(Phase phase) const;

  absl::Duration Monotonic() const { return clock_->Monotonic(); }

 private:
  Clock* const clock_;
  mutable Mutex mutex_;
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
