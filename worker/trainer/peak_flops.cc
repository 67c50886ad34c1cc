#include "worker/trainer/peak_flops.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#ifdef BERT_CUDA
#include <ATen/cuda/CUDAContext.h>
#endif

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "worker/model/cpu/products.h"

namespace bert::trainer {
namespace {

struct Gpu {
  const char* name;  // A part of the device's.
  double bf16_tflops;
  double fp32_tflops;
};

// The more special name first.
constexpr Gpu kGpus[] = {
    {"H100 PCIe", 756, 51}, {"H100 NVL", 835, 60}, {"H100", 989, 67},       {"H200", 989, 67},      {"B200", 2250, 75},
    {"A100", 312, 19.5},    {"A40", 150, 37.4},    {"A30", 165, 10.3},      {"A10", 125, 31.2},     {"L40S", 362, 91.6},
    {"L40", 181, 90.5},     {"L4", 121, 30.3},     {"RTX 4090", 165, 82.6}, {"RTX 3090", 71, 35.6},
};

double MeasureCpu(model::Precision precision) {
  constexpr int64_t kSize = 1024;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  constexpr absl::Duration kBudget = absl::Milliseconds(100);
  constexpr int kRepeatsMin = 3;
  // As the model multiplies.
  const bool bf16 = precision == model::Precision::kBf16 && model::cpu::Bf16ProductsAreFast();
  const auto options = at::TensorOptions(bf16 ? at::kBFloat16 : at::kFloat);
  const at::Tensor a = at::ones({kSize, kSize}, options);
  const at::Tensor b = at::ones({kSize, kSize}, options);
  at::Tensor c = at::empty({kSize, kSize}, options);
  // The first product also prepares the kernel. The fastest one was disturbed least.
  double best = 0;
  const absl::Duration start = RealClock().Monotonic();
  for (int i = 0; i < kRepeatsMin || RealClock().Monotonic() - start < kBudget; ++i) {
    const absl::Duration begin = RealClock().Monotonic();
    at::mm_out(c, a, b);
    best = std::max(best, kFlops / absl::ToDoubleSeconds(RealClock().Monotonic() - begin));
  }
  return best;
}

}  // namespace

double GpuPeakFlops(absl::string_view device_name, model::Precision precision) {
  for (const Gpu& gpu : kGpus) {
    if (!absl::StrContains(device_name, gpu.name)) continue;
    return 1e12 * (precision == model::Precision::kBf16 ? gpu.bf16_tflops : gpu.fp32_tflops);
  }
  return 0;
}

double PeakFlops(bool cuda, model::Precision precision) {
#ifdef BERT_CUDA
  if (cuda) return GpuPeakFlops(at::cuda::getCurrentDeviceProperties()->name, precision);
#endif
  return cuda ? 0 : MeasureCpu(precision);
}

}  // namespace bert::trainer
