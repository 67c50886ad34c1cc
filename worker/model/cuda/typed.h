// Raw pointers into tensors, by the kernels' element types; for any device.
#ifndef BERT_WORKER_MODEL_CUDA_TYPED_H_
#define BERT_WORKER_MODEL_CUDA_TYPED_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "common/check.h"
#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

static_assert(sizeof(Bf16) == sizeof(c10::BFloat16) && alignof(Bf16) == alignof(c10::BFloat16));

// Calls function(float()) or function(Bf16()) by the tensor's dtype.
template <typename Function>
void WithType(const at::Tensor& tensor, Function function) {
  if (tensor.scalar_type() == at::kFloat) {
    function(float());
  } else {
    BERT_CHECK(tensor.scalar_type() == at::kBFloat16) << c10::toString(tensor.scalar_type());
    function(Bf16());
  }
}

template <typename T>
T* Data(const at::Tensor& tensor) {
  constexpr at::ScalarType kType = std::is_same_v<T, float> ? at::kFloat : at::kBFloat16;
  BERT_CHECK(tensor.scalar_type() == kType) << c10::toString(tensor.scalar_type());
  return static_cast<T*>(tensor.data_ptr());
}
template <typename T>
T* DataOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? Data<T>(tensor) : nullptr;
}

// Whether kernels that take four elements at once can read them: contiguous matrices or vectors whose last dimension is
// a multiple of four, aligned to four elements. Undefined tensors fit.
inline bool Fit(std::initializer_list<const at::Tensor*> tensors) {
  for (const at::Tensor* tensor : tensors) {
    if (!tensor->defined()) continue;
    const auto address = reinterpret_cast<uintptr_t>(tensor->data_ptr());
    const uintptr_t alignment = static_cast<uintptr_t>(kVector) * tensor->element_size();
    if (!tensor->is_contiguous() || tensor->size(-1) % kVector != 0 || address % alignment != 0) return false;
  }
  return true;
}

// Of a matrix whose rows may be padded.
inline bool PaddedRowsFit(const at::Tensor& x) {
  const auto address = reinterpret_cast<uintptr_t>(x.data_ptr());
  const int64_t padded = (x.size(1) + kVector - 1) / kVector * kVector;
  return x.stride(1) == 1 && x.stride(0) % kVector == 0 && x.stride(0) >= padded &&
         address % (static_cast<uintptr_t>(kVector) * x.element_size()) == 0;
}

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_TYPED_H_
