#include "worker/trainer/schedule.h"

#include <algorithm>

namespace bert::trainer {

double Schedule::LearningRate(int64_t step) const {
  if (step < warmup_steps) return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  if (warmup_steps >= total_steps) return peak;
  const double left = static_cast<double>(std::max<int64_t>(total_steps - step, 0));
  return peak * left / static_cast<double>(total_steps - warmup_steps);
}

}  // namespace bert::trainer
