#include "worker/model/cpu/kernel_sets.h"

namespace bert::model::cpu {

extern const KernelSet kBaselineKernels;
extern const TileKernels kBaselineTiles;
#ifdef BERT_X86_KERNELS
extern const KernelSet kAvx2Kernels;
extern const KernelSet kAvx512Kernels;
extern const TileKernels kAvx2Tiles;
extern const TileKernels kAvx512Tiles;
#endif

namespace {

const NamedKernelSet& Best() {
  static const NamedKernelSet best = SupportedKernelSets().back();
  return best;
}

}  // namespace

std::vector<NamedKernelSet> SupportedKernelSets() {
  std::vector<NamedKernelSet> sets = {{"baseline", &kBaselineKernels, &kBaselineTiles}};
#ifdef BERT_X86_KERNELS
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2", &kAvx2Kernels, &kAvx2Tiles});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    sets.push_back({"avx512", &kAvx512Kernels, &kAvx512Tiles});
  }
#endif
  return sets;
}

const Kernels<float>& KernelsFor(float) { return Best().kernels->fp32; }
const Kernels<Bf16>& KernelsFor(Bf16) { return Best().kernels->bf16; }
const SoftmaxKernels& Softmax() { return Best().kernels->softmax; }
const TileKernels& Tiles() { return *Best().tiles; }

}  // namespace bert::model::cpu
