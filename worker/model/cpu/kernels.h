// The loops between the matrix multiplications, for CPU: each fuses what would be several passes over memory.
//
// They are compiled once per instruction set (kernels.cc) and work on raw pointers: no Torch, no threads, no
// allocation. The functions of operations.cc beside this file cut the work for threads. Matrices are row-major; `T` is
// float or Bf16; sums, means and everything stored per row are fp32.
#ifndef BERT_WORKER_MODEL_CPU_KERNELS_H_
#define BERT_WORKER_MODEL_CPU_KERNELS_H_

#include <cstdint>

#include "worker/model/dropout.h"

namespace bert::model::cpu {

// The upper half of a float; the layout of c10::BFloat16.
struct Bf16 {
  uint16_t bits;
};

// One row at a time of sum = residual + dropout(branch + bias); output = LayerNorm(sum).
template <typename T>
struct NormForwardArgs {
  int64_t begin;  // Rows [begin, end) of all pointers.
  int64_t end;
  int64_t columns;
  T* sum;             // In: the branch. Out: the sum.
  const T* bias;      // [columns] or null.
  const T* residual;  // Or null.
  Dropout dropout;
  const float* weight;     // [columns], of the LayerNorm.
  const float* norm_bias;  // [columns]
  float eps;
  T* output;
  float* mean;     // [rows]
  float* rstd;     // [rows]
  float* scratch;  // [columns]
};

template <typename T>
struct NormBackwardArgs {
  int64_t begin;
  int64_t end;
  int64_t columns;
  const T* d_output;
  const T* d_output_too;  // Added to d_output; or null.
  const T* d_direct;      // Added to d_sum; or null.
  const T* sum;
  const float* mean;
  const float* rstd;
  const float* weight;
  Dropout dropout;
  T* d_sum;
  T* d_branch;         // Null where no dropout is active: then it equals d_sum.
  float* d_weight;     // [columns], added to; as the next two.
  float* d_norm_bias;  // [columns]
  float* d_bias;       // [columns] or null
  float* scratch;      // [2 * columns]
};

template <typename T>
struct GeluArgs {
  int64_t begin;
  int64_t end;
  int64_t columns;
  const T* x;     // Before the bias.
  const T* bias;  // [columns]
  bool tanh;
  const T* d_output;  // Backward only.
  T* output;          // Forward: gelu(x + bias). Backward: the gradient of x; may be d_output.
  float* d_bias;      // [columns], added to; backward only.
};

// Softmax over each row of scores (before scaling), with dropout keyed by element numbers.
struct SoftmaxArgs {
  int64_t rows;
  int64_t columns;
  int64_t stride;  // From one row of scores and d_scores to the next.
  float scale;
  Dropout dropout;
  uint32_t element;         // Number of the first element.
  uint32_t element_stride;  // From one row to the next.
  // In: scores [rows, columns]. Out: the probabilities after dropout.
  float* scores;
  float* log_normalizer;  // [rows]; written by the forward pass, read by the backward pass.
  // Backward only. In: the gradient of the probabilities after dropout. Out: of the scores before scaling.
  float* d_scores;
  // Backward only: inner[row * inner_stride] is the inner product of the row of the output and its gradient.
  const float* inner;
  int64_t inner_stride;
};

template <typename T>
struct CrossEntropyArgs {
  int64_t begin;
  int64_t end;
  int64_t columns;
  T* logits;              // Before the bias. Out, where d_bias is given: the gradient of the logits.
  const T* bias;          // [columns]
  const int64_t* labels;  // Negative: the row has neither loss nor gradient.
  float* nll;             // [rows]
  float* d_bias;          // [columns], added to; or null for no gradient.
  float* scratch;         // [columns]
};

template <typename T>
struct Kernels {
  void (*norm_forward)(const NormForwardArgs<T>&);
  void (*norm_backward)(const NormBackwardArgs<T>&);
  void (*gelu_forward)(const GeluArgs<T>&);
  void (*gelu_backward)(const GeluArgs<T>&);
  void (*cross_entropy)(const CrossEntropyArgs<T>&);
  // x[i] for i in [begin, end).
  void (*dropout)(T* x, int64_t begin, int64_t end, const Dropout& dropout);
  // to[r][c] = from[r][c] + bias[c] (bias may be null), between matrices with the given distances of rows.
  void (*unpack)(const T* from, int64_t from_stride, const T* bias, int64_t rows, int64_t columns, float* to,
                 int64_t to_stride);
  void (*pack)(const float* from, int64_t from_stride, int64_t rows, int64_t columns, T* to, int64_t to_stride);
  // sums[c] += the sum of column c, c in [0, columns).
  void (*column_sums)(const T* x, int64_t stride, int64_t rows, int64_t columns, float* sums);
  // to[i] += from[i].
  void (*accumulate)(const T* from, int64_t size, float* to);
};

struct SoftmaxKernels {
  void (*forward)(const SoftmaxArgs&);
  void (*backward)(const SoftmaxArgs&);
  // inner[r] = the inner product of row r of a and of b, [rows, columns] each, without gaps.
  void (*inner_products)(const float* a, const float* b, int64_t rows, int64_t columns, float* inner);
};

// For the best instruction set of this machine.
const Kernels<float>& KernelsFor(float);
const Kernels<Bf16>& KernelsFor(Bf16);
const SoftmaxKernels& Softmax();

// One instruction set's.
struct KernelSet {
  Kernels<float> fp32;
  Kernels<Bf16> bf16;
  SoftmaxKernels softmax;
};

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_KERNELS_H_
