#include "worker/trainer/step_time.h"

#include <algorithm>
#include <utility>

namespace bert::trainer {

void StepTime::Add(Phase phase, absl::Duration spent) {
  MutexLock lock(&mutex_);
  since_taken_[static_cast<int>(phase)] += spent;
  total_[static_cast<int>(phase)] += spent;
}

TimeShares StepTime::Take() {
  const absl::Duration now = clock_->Monotonic();
  MutexLock lock(&mutex_);
  // A phase is counted at its end, so one that began before the last call may be longer than the time since.
  absl::Duration wall = now - taken_;
  absl::Duration counted = absl::ZeroDuration();
  for (const absl::Duration spent : since_taken_) counted += spent;
  wall = std::max({wall, counted, absl::Nanoseconds(1)});
  const std::array<absl::Duration, kPhaseCount> spent = std::exchange(since_taken_, {});
  const auto share = [&](Phase phase) { return absl::FDivDuration(spent[static_cast<int>(phase)], wall); };
  const TimeShares shares = {.data_wait = share(Phase::kDataWait),
                             .compute = share(Phase::kCompute),
                             .all_reduce = share(Phase::kAllReduce),
                             .optimizer = share(Phase::kOptimizer),
                             .checkpoint = share(Phase::kCheckpoint),
                             .validation = share(Phase::kValidation)};
  taken_ = now;
  return shares;
}

absl::Duration StepTime::Total(Phase phase) const {
  MutexLock lock(&mutex_);
  return total_[static_cast<int>(phase)];
}

}  // namespace bert::trainer
