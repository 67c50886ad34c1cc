#include "worker/trainer/step_time.h"

#include <algorithm>

namespace bert::trainer {

TimeShares SharesBetween(const PhaseTotals& from, const PhaseTotals& to) {
  const absl::Duration wall = std::max(to.at - from.at, absl::Nanoseconds(1));
  const auto share = [&](Phase phase) {
    return absl::FDivDuration(to.spent[static_cast<int>(phase)] - from.spent[static_cast<int>(phase)], wall);
  };
  return {.data_wait = share(Phase::kDataWait),
          .compute = share(Phase::kCompute),
          .all_reduce = share(Phase::kAllReduce),
          .optimizer = share(Phase::kOptimizer),
          .checkpoint = share(Phase::kCheckpoint),
          .validation = share(Phase::kValidation)};
}

void StepTime::Add(Phase phase, absl::Duration spent) {
  MutexLock lock(&mutex_);
  total_[static_cast<int>(phase)] += spent;
}

PhaseTotals StepTime::Totals() const {
  MutexLock lock(&mutex_);
  return {.at = clock_->Monotonic(), .spent = total_};
}

absl::Duration StepTime::Total(Phase phase) const {
  MutexLock lock(&mutex_);
  return total_[static_cast<int>(phase)];
}

}  // namespace bert::trainer
