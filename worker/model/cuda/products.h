// Matrix products of bf16 tensors in row-major order, by a launcher's product: cuBLASLt on a device.
#ifndef BERT_WORKER_MODEL_CUDA_PRODUCTS_H_
#define BERT_WORKER_MODEL_CUDA_PRODUCTS_H_

#include <ATen/core/Tensor.h>

#include "worker/model/cuda/launcher.h"
#include "worker/model/operations.h"

namespace bert::model::cuda {

// Whether the functions below take it as an operand: a bf16 matrix whose rows are without gaps and aligned to 16 bytes.
bool ProductServes(const at::Tensor& x);

// x [N, in] -> x weight^T (+ bias, unless null) [N, out], added before rounding. Rows of the result are padded to a
// multiple of 8 elements, so that every row is aligned to 16 bytes, as the fastest products want: its stride counts.
at::Tensor MatMul(const Launcher& launcher, const at::Tensor& x, const at::Tensor& weight, const at::Tensor* bias);

// Returns d_output weight [N, in], and adds d_output^T x to weight.grad without rounding it to bf16. Rows of d_output
// may be padded.
at::Tensor MatMulBackward(const Launcher& launcher, const at::Tensor& d_output, const at::Tensor& x,
                          const Weight& weight);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_PRODUCTS_H_
