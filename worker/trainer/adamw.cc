#include "worker/trainer/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "worker/model/cpu/memory.h"
#include "worker/model/cuda/operations.h"
#include "worker/model/cuda/optimizer.h"
#include "worker/trainer/adamw_kernel.h"

namespace bert::trainer {
namespace {

// Elements that a thread takes at once; also the grain of the norm, whatever the number of threads.
constexpr int64_t kChunk = 1 << 16;

at::Tensor ZerosBeside(const at::Tensor& master) {
  return master.is_cpu() ? model::cpu::LargeZeros(master.numel(), at::kFloat) : at::zeros_like(master);
}

}  // namespace

AdamW::AdamW(model::Parameters* parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      exp_avg_(ZerosBeside(parameters->master())),
      exp_avg_sq_(ZerosBeside(parameters->master())) {
  for (const model::ParameterInfo& info : parameters->infos()) {
    if (!ranges_.empty() && ranges_.back().decay == info.decay && ranges_.back().end == info.offset) {
      ranges_.back().end += info.size;
    } else {
      ranges_.push_back({info.offset, info.offset + info.size, info.decay});
    }
  }
  std::vector<int64_t> ends;
  if (!ranges_.empty() && !ranges_.front().decay) ends.push_back(0);
  for (const Range& range : ranges_) ends.push_back(range.end);
  range_ends_ = at::empty({static_cast<int64_t>(ends.size())}, at::kLong);
  std::copy(ends.begin(), ends.end(), range_ends_.mutable_data_ptr<int64_t>());
  range_ends_ = range_ends_.to(parameters->master().device());
}

void AdamW::Step(const AdamWStep& step) {
  if (const auto* launcher = model::cuda::LauncherFor(parameters_->master())) {
    StepByKernel(*launcher, step);
  } else if (parameters_->master().is_cpu()) {
    StepOnCpu(step);
  } else {
    StepByOperations(step);
  }
}

AdamWFactors AdamW::FactorsOf(const AdamWStep& step) const {
  const double bias1 = 1 - std::pow(options_.beta1, static_cast<double>(step.step));
  const double bias2 = 1 - std::pow(options_.beta2, static_cast<double>(step.step));
  return {.gradient_scale = static_cast<float>(step.gradient_scale),
          .one_minus_beta1 = static_cast<float>(1 - options_.beta1),
          .beta2 = static_cast<float>(options_.beta2),
          .one_minus_beta2 = static_cast<float>(1 - options_.beta2),
          .keep = static_cast<float>(1 - step.learning_rate * options_.weight_decay),
          .step_size = static_cast<float>(step.learning_rate / bias1),
          .inverse_root_bias2 = static_cast<float>(1 / std::sqrt(bias2)),
          .epsilon = static_cast<float>(options_.epsilon)};
}

void AdamW::StepByKernel(const model::cuda::Launcher& launcher, const AdamWStep& step) {
  const AdamWFactors factors = FactorsOf(step);
  const bool bf16 = parameters_->precision() == model::Precision::kBf16;
  model::cuda::UpdateAdamW(
      launcher, {.count = parameters_->size(),
                 .gradient_scale = factors.gradient_scale,
                 .one_minus_beta1 = factors.one_minus_beta1,
                 .beta2 = factors.beta2,
                 .one_minus_beta2 = factors.one_minus_beta2,
                 .keep = factors.keep,
                 .step_size = factors.step_size,
                 .inverse_root_bias2 = factors.inverse_root_bias2,
                 .epsilon = factors.epsilon,
                 .range_ends = range_ends_.const_data_ptr<int64_t>(),
                 .ranges = static_cast<int>(range_ends_.numel()),
                 .grad = parameters_->grad().const_data_ptr<float>(),
                 .master = parameters_->master().mutable_data_ptr<float>(),
                 .exp_avg = exp_avg_.mutable_data_ptr<float>(),
                 .exp_avg_sq = exp_avg_sq_.mutable_data_ptr<float>(),
                 .compute = bf16 ? static_cast<model::cuda::Bf16*>(parameters_->compute().data_ptr()) : nullptr});
}

void AdamW::StepOnCpu(const AdamWStep& step) {
  AdamWFactors factors = FactorsOf(step);
  const float keep = factors.keep;
  const float* grad = parameters_->grad().const_data_ptr<float>();
  float* master = parameters_->master().mutable_data_ptr<float>();
  float* exp_avg = exp_avg_.mutable_data_ptr<float>();
  float* exp_avg_sq = exp_avg_sq_.mutable_data_ptr<float>();
  uint16_t* compute = nullptr;
  if (parameters_->precision() == model::Precision::kBf16) {
    compute = static_cast<uint16_t*>(parameters_->compute().mutable_data_ptr());
  }
  for (const Range& range : ranges_) {
    factors.keep = range.decay ? keep : 1.0f;
    at::parallel_for(range.begin, range.end, kChunk, [&](int64_t begin, int64_t end) {
      AdamWUpdate(factors, end - begin, grad + begin, master + begin, exp_avg + begin, exp_avg_sq + begin,
                  compute == nullptr ? nullptr : compute + begin);
    });
  }
}

void AdamW::StepByOperations(const AdamWStep& step) {
  const double bias1 = 1 - std::pow(options_.beta1, static_cast<double>(step.step));
  const double bias2 = 1 - std::pow(options_.beta2, static_cast<double>(step.step));
  const at::Tensor grad = parameters_->grad().mul(step.gradient_scale);
  exp_avg_.lerp_(grad, 1 - options_.beta1);
  exp_avg_sq_.mul_(options_.beta2).addcmul_(grad, grad, 1 - options_.beta2);
  for (const Range& range : ranges_) {
    if (!range.decay) continue;
    parameters_->master().slice(0, range.begin, range.end).mul_(1 - step.learning_rate * options_.weight_decay);
  }
  const at::Tensor denominator = exp_avg_sq_.sqrt().div_(std::sqrt(bias2)).add_(options_.epsilon);
  parameters_->master().addcdiv_(exp_avg_, denominator, -step.learning_rate / bias1);
  parameters_->RefreshCompute();
}

double GradientNorm(const at::Tensor& grad) {
  if (const auto* launcher = model::cuda::LauncherFor(grad)) {
    return std::sqrt(model::cuda::SumOfSquares(*launcher, grad).item<double>());
  }
  if (!grad.is_cpu()) return at::linalg_vector_norm(grad, 2, std::nullopt, false, at::kDouble).item<double>();
  const float* values = grad.const_data_ptr<float>();
  const int64_t count = grad.numel();
  std::vector<double> sums((count + kChunk - 1) / kChunk);
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      sums[chunk] = SumOfSquares(std::min(kChunk, count - first), values + first);
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

}  // namespace bert::trainer
