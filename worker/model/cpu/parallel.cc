#include "worker/model/cpu/parallel.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace bert::model::cpu {
namespace {

// More than the cores of a node's share, few enough that adding them up costs nothing.
constexpr int64_t kPartsMax = 32;
constexpr int64_t kRowsPerPartMin = 16;

}  // namespace

// False where the processor has no such mode: then there is nothing to be done.
void FlushDenormals() { (void)at::globalContext().setFlushDenormal(true); }

void ParallelFor(int64_t count, int64_t grain, absl::FunctionRef<void(int64_t, int64_t)> work) {
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { work(begin, end); });
}

void ParallelSums(int64_t rows, int64_t columns, float* sums, absl::FunctionRef<void(int64_t, int64_t, float*)> work) {
  if (rows == 0) return;
  const int64_t rows_per_part = std::max(kRowsPerPartMin, (rows + kPartsMax - 1) / kPartsMax);
  const int64_t parts = (rows + rows_per_part - 1) / rows_per_part;
  std::vector<float> partials(static_cast<size_t>(parts * columns));
  ParallelFor(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      work(part * rows_per_part, std::min(rows, (part + 1) * rows_per_part), partials.data() + part * columns);
    }
  });
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t c = 0; c < columns; ++c) sums[c] += partials[static_cast<size_t>(part * columns + c)];
  }
}

}  // namespace bert::model::cpu
