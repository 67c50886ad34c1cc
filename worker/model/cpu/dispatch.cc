#include "worker/model/cpu/kernels.h"

namespace bert::model::cpu {

extern const KernelSet kBaselineKernels;
#ifdef BERT_X86_KERNELS
extern const KernelSet kAvx2Kernels;
extern const KernelSet kAvx512Kernels;
#endif

namespace {

const KernelSet& Choose() {
#ifdef BERT_X86_KERNELS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return kAvx512Kernels;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2Kernels;
#endif
  return kBaselineKernels;
}

const KernelSet& Chosen() {
  static const KernelSet& chosen = Choose();
  return chosen;
}

}  // namespace

const Kernels<float>& KernelsFor(float) { return Chosen().fp32; }
const Kernels<Bf16>& KernelsFor(Bf16) { return Chosen().bf16; }
const SoftmaxKernels& Softmax() { return Chosen().softmax; }

}  // namespace bert::model::cpu
