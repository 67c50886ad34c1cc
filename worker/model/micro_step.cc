#include "worker/model/micro_step.h"

#include <utility>

#ifdef BERT_CUDA
#include "worker/model/cuda/recorded_step.h"
#endif

namespace bert::model {
namespace {

class DirectMicroStep : public MicroStep {
 public:
  explicit DirectMicroStep(MaskedLm* model) : model_(model) {}

  void Run(const MaskedBatch& batch, uint64_t dropout_seed, double next_sentence_weight,
           const BackwardPass& pass) override {
    const LossSums loss = model_->ForwardBackward(batch, dropout_seed, next_sentence_weight, pass);
    sums_.nll += loss.nll.item<double>();
    sums_.masked_tokens += loss.masked_tokens;
    if (loss.next_sentence.rows > 0) sums_.next_sentence_nll += loss.next_sentence.nll.item<double>();
  }

  MicroStepSums TakeSums() override { return std::exchange(sums_, {}); }

 private:
  MaskedLm* const model_;
  MicroStepSums sums_;
};

}  // namespace

std::unique_ptr<MicroStep> MakeMicroStep(MaskedLm* model, [[maybe_unused]] const MicroStepOptions& options) {
#ifdef BERT_CUDA
  if (model->parameters().master().is_cuda()) return cuda::MakeRecordedStep(model, options);
#endif
  return std::make_unique<DirectMicroStep>(model);
}

}  // namespace bert::model
