#include "worker/trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bert::trainer {

double Schedule::LearningRate(int64_t step) const {
  if (step < warmup_steps) return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  if (warmup_steps >= total_steps || decay == Decay::kConstant) return peak;
  const double left =
      static_cast<double>(std::max<int64_t>(total_steps - step, 0)) / static_cast<double>(total_steps - warmup_steps);
  const double height = decay == Decay::kCosine ? (1 - std::cos(std::numbers::pi * left)) / 2 : left;
  return peak * (final_share + (1 - final_share) * height);
}

}  // namespace bert::trainer
