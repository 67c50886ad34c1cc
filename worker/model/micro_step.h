// Forward and backward passes of micro-batches, one after another, on whatever device the model is.
#ifndef BERT_WORKER_MODEL_MICRO_STEP_H_
#define BERT_WORKER_MODEL_MICRO_STEP_H_

#include <cstdint>
#include <memory>

#include "worker/model/masked_lm.h"

namespace bert::model {

// Sums over the micro-batches of a step.
struct MicroStepSums {
  double nll = 0;
  int64_t masked_tokens = 0;
  double next_sentence_nll = 0;
};

struct MicroStepOptions {
  // On CUDA devices: passes of one shape are recorded as a CUDA graph, and repeated. A model with shapes that the fused
  // kernels do not serve, or with a next-sentence head, is not recorded whatever this says.
  bool graphs = true;
};

// Not thread-safe. Borrows the model.
class MicroStep {
 public:
  virtual ~MicroStep() = default;

  // As MaskedLm::ForwardBackward, whose pass is finished from 0 at once on CUDA devices, for a batch on the CPU. On a
  // CUDA device the pass is put behind what is on the current stream and may not have ended, nor begun, when the call
  // returns; what is put on the stream afterwards sees its gradients.
  virtual void Run(const MaskedBatch& batch, uint64_t dropout_seed, double next_sentence_weight,
                   const BackwardPass& pass) = 0;

  // What Run has summed since the last call. Waits for the device.
  virtual MicroStepSums TakeSums() = 0;
};

std::unique_ptr<MicroStep> MakeMicroStep(MaskedLm* model, const MicroStepOptions& options = {});

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_MICRO_STEP_H_
