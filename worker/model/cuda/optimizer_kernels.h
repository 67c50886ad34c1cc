// AdamW in one pass over the flat buffers, and the gradient's norm in fp64.
#ifndef BERT_WORKER_MODEL_CUDA_OPTIMIZER_KERNELS_H_
#define BERT_WORKER_MODEL_CUDA_OPTIMIZER_KERNELS_H_

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

// A block takes kAdamWBlock elements. Ranges of decay end at any element, so that each element is looked at alone;
// neighbouring threads take neighbouring elements.
struct AdamWKernel {
  AdamWArgs a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t first = thread.block() * kAdamWBlock;
    const int64_t last = first + kAdamWBlock < a.count ? first + kAdamWBlock : a.count;
    int range = RangeOf(first);
    for (int64_t i = first + thread.index(); i < last; i += thread.threads()) {
      while (range + 1 < a.ranges && a.range_ends[range] <= i) ++range;
      const float grad = a.grad[i] * a.gradient_scale;
      const float exp_avg = a.exp_avg[i] + (grad - a.exp_avg[i]) * a.one_minus_beta1;
      const float exp_avg_sq = a.exp_avg_sq[i] * a.beta2 + grad * grad * a.one_minus_beta2;
      const float denominator = sqrtf(exp_avg_sq) * a.inverse_root_bias2 + a.epsilon;
      const float keep = range % 2 == 0 ? a.keep : 1.0f;
      const float updated = a.master[i] * keep - a.step_size * (exp_avg / denominator);
      a.exp_avg[i] = exp_avg;
      a.exp_avg_sq[i] = exp_avg_sq;
      a.master[i] = updated;
      if (a.compute != nullptr) Round(updated, a.compute + i);
    }
  }

 private:
  // The first range that ends behind `element`.
  BERT_KERNEL int RangeOf(int64_t element) const {
    int low = 0;
    int high = a.ranges - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (a.range_ends[middle] <= element) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// Shared memory: a double a warp.
struct SquaresKernel {
  SquaresArgs a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t first = thread.block() * kSquaresBlock;
    const int64_t last = first + kSquaresBlock < a.count ? first + kSquaresBlock : a.count;
    double sum = 0;
    for (int64_t i = first + thread.index(); i < last; i += thread.threads()) {
      sum += static_cast<double>(a.values[i]) * static_cast<double>(a.values[i]);
    }
    const double total = BlockSum(thread, sum, static_cast<double*>(thread.shared()));
    if (thread.index() == 0) a.sums[thread.block()] = total;
  }
};

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_OPTIMIZER_KERNELS_H_
