// Time, passed in.
#ifndef BERT_COMMON_CLOCK_H_
#define BERT_COMMON_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace bert {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Wall time: for people and records. May jump.
  virtual absl::Time Now() = 0;
  // Since an arbitrary start; never goes back. For leases, deadlines and rates.
  virtual absl::Duration Monotonic() = 0;
};

// The machine's clocks. Never destroyed.
Clock& RealClock();

// Moves only when told. Wall and monotonic time advance together.
class SimulatedClock : public Clock {
 public:
  explicit SimulatedClock(absl::Time start) : start_(start) {}

  absl::Time Now() override;
  absl::Duration Monotonic() override;
  void Advance(absl::Duration by);

 private:
  const absl::Time start_;
  absl::Mutex mutex_;
  absl::Duration elapsed_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace bert

#endif  // BERT_COMMON_CLOCK_H_
