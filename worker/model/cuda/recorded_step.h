// Micro-batches on a CUDA device. Only in builds with CUDA.
#ifndef BERT_WORKER_MODEL_CUDA_RECORDED_STEP_H_
#define BERT_WORKER_MODEL_CUDA_RECORDED_STEP_H_

#include <memory>

#include "worker/model/micro_step.h"

namespace bert::model::cuda {

// Input goes through two buffers of pinned memory and a stream of its own, so that a batch is copied while the one
// before it is computed. The first pass of a shape runs operation by operation; the second is recorded as a CUDA graph,
// which every further one repeats: one launch instead of some hundred. A recorded pass finds its seed in device memory
// and leaves its loss there; nothing waits for the device but TakeSums.
//
// All graphs share one pool of memory, as large as the largest needs.
std::unique_ptr<MicroStep> MakeRecordedStep(MaskedLm* model, const MicroStepOptions& options);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_RECORDED_STEP_H_
