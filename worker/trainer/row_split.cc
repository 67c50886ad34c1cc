#include "worker/trainer/row_split.h"

#include <string_view>

#include "common/digest.h"

namespace bert::trainer {

uint64_t DropoutSeed(uint64_t job_seed, int64_t step, int64_t lane_or_row, int64_t micro_batch) {
  const int64_t numbers[] = {step, lane_or_row, micro_batch};
  return StableHash(std::string_view(reinterpret_cast<const char*>(numbers), sizeof numbers), job_seed);
}

}  // namespace bert::trainer
