#include "worker/model/cpu/kernel_sets.h"

namespace bert::model::cpu {

extern const KernelSet kBaselineKernels;
#ifdef BERT_X86_KERNELS
extern const KernelSet kAvx2Kernels;
extern const KernelSet kAvx512Kernels;
#endif

namespace {

const KernelSet& Best() {
  static const KernelSet& best = *SupportedKernelSets().back().kernels;
  return best;
}

}  // namespace

std::vector<NamedKernelSet> SupportedKernelSets() {
  std::vector<NamedKernelSet> sets = {{"baseline", &kBaselineKernels}};
#ifdef BERT_X86_KERNELS
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2", &kAvx2Kernels});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    sets.push_back({"avx512", &kAvx512Kernels});
  }
#endif
  return sets;
}

const Kernels<float>& KernelsFor(float) { return Best().fp32; }
const Kernels<Bf16>& KernelsFor(Bf16) { return Best().bf16; }
const SoftmaxKernels& Softmax() { return Best().softmax; }

}  // namespace bert::model::cpu
