// Softmax cross-entropy over the vocabulary. A row of bf16 logits is read twice, the second time from the cache;
// nothing in fp32 is kept of it.
#ifndef BERT_WORKER_MODEL_CUDA_LOSS_KERNELS_H_
#define BERT_WORKER_MODEL_CUDA_LOSS_KERNELS_H_

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

// Shared memory: a float a warp.
template <typename T>
struct CrossEntropyKernel {
  CrossEntropyArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    float* scratch = static_cast<float*>(thread.shared());
    const int64_t row = thread.block();
    T* logits = a.logits + row * a.stride;
    const int64_t label = a.labels[row];
    if (label < 0) {
      if (a.with_gradient) {
        for (int c = thread.index() * kVector; c < a.columns; c += thread.threads() * kVector) {
          if (c + kVector <= a.columns) {
            Store(Vector{}, logits + c);
          } else {
            for (int i = c; i < a.columns; ++i) Round(0.0f, logits + i);
          }
        }
      }
      if (thread.index() == 0) a.nll[row] = 0;
      return;
    }
    const float label_logit = FloatOf(logits[label]) + FloatOf(a.bias[label]);
    // Each thread's sum is relative to the largest value that it has seen.
    float max = -INFINITY;
    float sum = 0;
    for (int c = thread.index() * kVector; c < a.columns; c += thread.threads() * kVector) {
      const Vector x = Biased(logits, c);
      float larger = max;
      for (const float value : x.v) larger = value > larger ? value : larger;
      float added = 0;
      for (const float value : x.v) added += expf(value - larger);
      sum = (max == larger ? sum : sum * expf(max - larger)) + added;
      max = larger;
    }
    const float row_max = BlockMax(thread, max, scratch);
    const float total = BlockSum(thread, sum == 0.0f ? 0.0f : sum * expf(max - row_max), scratch);
    // All threads have read the label's logit before the first barrier above.
    if (thread.index() == 0) a.nll[row] = logf(total) + row_max - label_logit;
    if (!a.with_gradient) return;
    const float factor = 1.0f / total;
    for (int c = thread.index() * kVector; c < a.columns; c += thread.threads() * kVector) {
      Vector x = Biased(logits, c);
      for (int i = 0; i < kVector; ++i) {
        x.v[i] = expf(x.v[i] - row_max) * factor - (c + i == label ? 1.0f : 0.0f);
      }
      if (c + kVector <= a.columns) {
        Store(x, logits + c);
      } else {
        for (int i = c; i < a.columns; ++i) Round(x.v[i - c], logits + i);
      }
    }
  }

 private:
  // -inf behind the last column.
  BERT_KERNEL Vector Biased(const T* logits, int c) const {
    Vector x;
    if (c + kVector <= a.columns) {
      x = Load(logits + c);
      for (int i = 0; i < kVector; ++i) x.v[i] += FloatOf(a.bias[c + i]);
    } else {
      for (int i = 0; i < kVector; ++i) {
        x.v[i] = c + i < a.columns ? FloatOf(logits[c + i]) + FloatOf(a.bias[c + i]) : -INFINITY;
      }
    }
    return x;
  }
};

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_LOSS_KERNELS_H_
