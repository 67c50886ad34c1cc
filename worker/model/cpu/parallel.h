// Threads for the CPU kernels: Torch's own pool.
#ifndef BERT_WORKER_MODEL_CPU_PARALLEL_H_
#define BERT_WORKER_MODEL_CPU_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace bert::model::cpu {

// Makes this thread, and every thread it starts from now on, take numbers below the smallest normal fp32 (1.2e-38) for
// zero. Attention probabilities and their gradients fall below it once a model has learned to look at few tokens, and
// processors take a hundred times as long over such numbers. Call it before the first ParallelFor, which starts the
// pool.
void FlushDenormals();

// Calls work(begin, end) on disjoint ranges that cover [0, count), in parallel where that pays: no range is shorter
// than `grain` unless count is. Returns when all are done; rethrows one exception of `work`.
void ParallelFor(int64_t count, int64_t grain, absl::FunctionRef<void(int64_t, int64_t)> work);

// Sums over rows, in parallel, by a fixed cut of the rows, so that the result does not depend on the number of threads:
// calls work(begin, end, partial) with partial[0 .. columns) zero, and adds the partials to `sums` in order.
void ParallelSums(int64_t rows, int64_t columns, float* sums, absl::FunctionRef<void(int64_t, int64_t, float*)> work);

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_PARALLEL_H_
