#include "common/clock.h"

#include <chrono>

#include "common/check.h"

namespace bert {
namespace {

class MachineClock : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }
  absl::Duration Monotonic() override { return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()); }
};

}  // namespace

Clock& RealClock() {
  static auto* clock = new MachineClock;
  return *clock;
}

absl::Time SimulatedClock::Now() { return start_ + Monotonic(); }

absl::Duration SimulatedClock::Monotonic() {
  absl::MutexLock lock(&mutex_);
  return elapsed_;
}

void SimulatedClock::Advance(absl::Duration by) {
  BERT_CHECK(by >= absl::ZeroDuration()) << by;
  absl::MutexLock lock(&mutex_);
  elapsed_ += by;
}

}  // namespace bert
