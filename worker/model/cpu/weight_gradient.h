// Gradients of bf16 weights, summed in fp32 where they belong.
#ifndef BERT_WORKER_MODEL_CPU_WEIGHT_GRADIENT_H_
#define BERT_WORKER_MODEL_CPU_WEIGHT_GRADIENT_H_

#include <ATen/core/Tensor.h>

#include "worker/model/operations.h"

namespace bert::model::cpu {

// Whether this machine multiplies bf16 on matrix tiles (AMX).
bool HasTiles();

// grad [out, in] (fp32) (+)= d_output^T x, for d_output bf16 [T, out] and x bf16 [T, in]. On tiles the products are
// added to `grad` in fp32, otherwise rounded to bf16 once between. Contiguous tensors.
void WeightGradient(const at::Tensor& d_output, const at::Tensor& x, const at::Tensor& grad, GradMode mode);

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_WEIGHT_GRADIENT_H_
