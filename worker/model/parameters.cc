#include "worker/model/parameters.h"

#include <ATen/ops/zeros.h>

#include <utility>

#include "common/check.h"
#include "worker/model/cpu/memory.h"

namespace bert::model {

Parameters::Parameters(std::vector<ParameterInfo> infos, Precision precision, at::Device device)
    : infos_(std::move(infos)), precision_(precision) {
  for (const ParameterInfo& info : infos_) {
    BERT_CHECK(info.offset == size_) << info.name << " begins at " << info.offset << ", not at " << size_;
    size_ += info.size;
  }
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto zeros = [&](at::ScalarType dtype) {
    return device.is_cpu() ? cpu::LargeZeros(size_, dtype) : at::zeros({size_}, options.dtype(dtype));
  };
  master_ = zeros(at::kFloat);
  grad_ = zeros(at::kFloat);
  compute_ = precision_ == Precision::kBf16 ? zeros(at::kBFloat16) : master_;
}

at::Tensor Parameters::View(const at::Tensor& flat, int64_t index) const {
  const ParameterInfo& info = infos_.at(index);
  return flat.narrow(0, info.offset, info.size).view(info.shape);
}

at::Tensor Parameters::MasterView(int64_t index) const { return View(master_, index); }
at::Tensor Parameters::GradView(int64_t index) const { return View(grad_, index); }
at::Tensor Parameters::ComputeView(int64_t index) const { return View(compute_, index); }

void Parameters::RefreshCompute() {
  if (precision_ == Precision::kBf16) compute_.copy_(master_);
}

void Parameters::ZeroGrad() { grad_.zero_(); }

}  // namespace bert::model
