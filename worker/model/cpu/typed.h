// Raw pointers into CPU tensors, by the kernels' element types.
#ifndef BERT_WORKER_MODEL_CPU_TYPED_H_
#define BERT_WORKER_MODEL_CPU_TYPED_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <type_traits>

#include "common/check.h"
#include "worker/model/cpu/kernels.h"

namespace bert::model::cpu {

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

// Of a contiguous CPU tensor of that type.
template <typename T>
T* Data(const at::Tensor& tensor) {
  constexpr at::ScalarType kType = std::is_same_v<T, float> ? at::kFloat : at::kBFloat16;
  BERT_CHECK(tensor.is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == kType)
      << "a tensor that the kernels cannot read";
  return static_cast<T*>(tensor.data_ptr());
}

template <typename T>
T* DataOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? Data<T>(tensor) : nullptr;
}

// Rows of an fp32 matrix [N, H] by int64 ids [T].
class Table {
 public:
  Table(const at::Tensor& matrix, const at::Tensor& ids)
      : rows_(Data<float>(matrix)),
        count_(matrix.size(0)),
        columns_(matrix.size(1)),
        ids_(ids.const_data_ptr<int64_t>()) {}

  float* Row(int64_t token) const {
    const int64_t id = ids_[token];
    BERT_CHECK(id >= 0 && id < count_) << "id " << id << " in a table of " << count_ << " rows";
    return rows_ + id * columns_;
  }

 private:
  float* rows_;
  int64_t count_;
  int64_t columns_;
  const int64_t* ids_;
};

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_TYPED_H_
