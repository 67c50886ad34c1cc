// The instruction sets that the kernels exist for.
#ifndef BERT_WORKER_MODEL_CPU_KERNEL_SETS_H_
#define BERT_WORKER_MODEL_CPU_KERNEL_SETS_H_

#include <string>
#include <vector>

#include "worker/model/cpu/kernels.h"
#include "worker/model/cpu/tiles.h"

namespace bert::model::cpu {

struct NamedKernelSet {
  std::string name;
  const KernelSet* kernels;
  const TileKernels* tiles;
};

// Those this machine can run, the best last.
std::vector<NamedKernelSet> SupportedKernelSets();

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_KERNEL_SETS_H_
