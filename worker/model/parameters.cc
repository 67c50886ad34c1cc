#include "worker/model/parameters.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "common/check.h"
#include "worker/model/cpu/memory.h"

namespace bert::model {

namespace {

// What a tensor of `info` has without padding, in elements.
int64_t UnpaddedSize(const ParameterInfo& info) {
  return info.size / info.shape[0] * (info.shape[0] - info.padding_rows);
}

}  // namespace

int64_t UnpaddedSize(const std::vector<ParameterInfo>& infos) {
  int64_t size = 0;
  for (const ParameterInfo& info : infos) size += UnpaddedSize(info);
  return size;
}

at::Tensor Unpadded(const std::vector<ParameterInfo>& infos, const at::Tensor& flat) {
  if (UnpaddedSize(infos) == flat.numel()) return flat;
  std::vector<at::Tensor> parts;
  for (const ParameterInfo& info : infos) parts.push_back(flat.narrow(0, info.offset, UnpaddedSize(info)));
  return at::cat(parts);
}

void CopyUnpadded(const std::vector<ParameterInfo>& infos, const at::Tensor& unpadded, const at::Tensor& flat) {
  int64_t from = 0;
  for (const ParameterInfo& info : infos) {
    const int64_t size = UnpaddedSize(info);
    flat.narrow(0, info.offset, size).copy_(unpadded.narrow(0, from, size));
    from += size;
  }
}

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
