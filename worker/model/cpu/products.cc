#include "worker/model/cpu/products.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <ATen/ops/mm.h>

namespace bert::model::cpu {
namespace {

bool Detect() {
#ifdef __x86_64__
  unsigned int eax = 0;
  unsigned int ebx = 0;
  unsigned int ecx = 0;
  unsigned int edx = 0;
  constexpr unsigned int kAmxBf16 = 1u << 22;  // CPUID leaf 7, EDX.
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAmxBf16) != 0) return true;
  return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16");
#else
  return true;
#endif
}

}  // namespace

bool Bf16ProductsAreFast() {
  static const bool fast = Detect();
  return fast;
}

at::Tensor MatMulInFp32(const at::Tensor& x, const Weight& weight) {
  return at::mm(x.to(at::kFloat), weight.value.to(at::kFloat).t()).to(at::kBFloat16);
}

at::Tensor MatMulBackwardInFp32(const at::Tensor& d_output, const at::Tensor& x, const Weight& weight, GradMode mode) {
  const at::Tensor d = d_output.to(at::kFloat);
  at::Tensor grad = weight.grad;
  if (mode == GradMode::kReplace) grad.zero_();
  grad.addmm_(d.t(), x.to(at::kFloat));
  return at::mm(d, weight.value.to(at::kFloat)).to(at::kBFloat16);
}

}  // namespace bert::model::cpu
