// Exponential backoff with jitter.
#ifndef BERT_COMMON_BACKOFF_H_
#define BERT_COMMON_BACKOFF_H_

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/time/time.h"

namespace bert {

// Delays initial, initial * multiplier, ... up to max, each scaled by a factor in [0.5, 1). Not thread-safe.
class Backoff {
 public:
  Backoff(absl::Duration initial, absl::Duration max, uint64_t seed, double multiplier = 2.0)
      : initial_(initial), max_(max), multiplier_(multiplier), next_(initial), generator_(seed) {}

  absl::Duration Next() {
    const double factor = std::uniform_real_distribution<double>(0.5, 1.0)(generator_);
    const absl::Duration delay = next_ * factor;
    next_ = std::min(max_, next_ * multiplier_);
    return delay;
  }
  // After a success.
  void Reset() { next_ = initial_; }

 private:
  absl::Duration initial_;
  absl::Duration max_;
  double multiplier_;
  absl::Duration next_;
  std::mt19937_64 generator_;
};

}  // namespace bert

#endif  // BERT_COMMON_BACKOFF_H_
