// Matrix products of bf16 tensors on CPUs, which differ in how they multiply bf16.
#ifndef BERT_WORKER_MODEL_CPU_PRODUCTS_H_
#define BERT_WORKER_MODEL_CPU_PRODUCTS_H_

#include <ATen/core/Tensor.h>

#include "worker/model/operations.h"

namespace bert::model::cpu {

// Whether this machine multiplies bf16 faster than fp32: with AMX, or AMD's AVX-512. An Intel core whose AMX is absent
// (or hidden from a virtual machine) takes twice as long for bf16 as for fp32, and one without AVX-512 far longer.
bool Bf16ProductsAreFast();

// MatMul and MatMulBackward of bf16 tensors with products in fp32: the same inputs, rounded once at the end; gradients
// of weights not at all.
at::Tensor MatMulInFp32(const at::Tensor& x, const Weight& weight);
at::Tensor MatMulBackwardInFp32(const at::Tensor& d_output, const at::Tensor& x, const Weight& weight,
                                GradMode mode = GradMode::kAdd);

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_PRODUCTS_H_
