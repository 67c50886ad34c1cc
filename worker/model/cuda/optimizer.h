// The optimizer's work on flat buffers by the kernels of this folder.
#ifndef BERT_WORKER_MODEL_CUDA_OPTIMIZER_H_
#define BERT_WORKER_MODEL_CUDA_OPTIMIZER_H_

#include <ATen/core/Tensor.h>

#include "worker/model/cuda/launcher.h"

namespace bert::model::cuda {

// One pass over all of them, args.count elements each.
void UpdateAdamW(const Launcher& launcher, const AdamWArgs& args);

// fp64 scalar on the device: the sum of squares of a flat fp32 tensor, in a fixed order.
at::Tensor SumOfSquares(const Launcher& launcher, const at::Tensor& values);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_OPTIMIZER_H_
