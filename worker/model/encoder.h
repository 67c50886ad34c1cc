// The transformer: embeddings and blocks, pre-LN or post-LN, with an explicit backward pass.
#ifndef BERT_WORKER_MODEL_ENCODER_H_
#define BERT_WORKER_MODEL_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/model/layout.h"
#include "worker/model/model_config.h"
#include "worker/model/operations.h"
#include "worker/model/parameters.h"

namespace bert::model {

// The tensors of `index` in both buffers. LayerNorm's are read in fp32 always, so its bf16 copies are never used.
Affine MakeLinear(const Parameters& parameters, AffineIndex index);
Affine MakeNorm(const Parameters& parameters, AffineIndex index);

// What the encoder reads of a batch.
struct EncoderInput {
  EmbeddingIds ids;
  AttentionPlan attention;
};

// How a backward pass leaves its gradients, and whom it tells of them.
struct BackwardPass {
  GradMode weights = GradMode::kAdd;  // Of the matrices that MatMul reads; all others are added to.
  // Unless null: called with the offset in the flat buffer from which on all gradients are as this pass leaves them,
  // each time smaller; the last time, with 0, when the pass is done.
  std::function<void(int64_t)> finished_from = nullptr;
};

// Where a pass's dropout comes from.
struct PassSeed {
  PassSeed(uint64_t value_in = 0, const uint64_t* on_device_in = nullptr) : value(value_in), on_device(on_device_in) {}

  uint64_t value;
  // Of a pass that is being recorded for a CUDA device: where each repetition finds its own seed, which is then used
  // instead. Whoever records and repeats it calls SeedAttentionDropout.
  const uint64_t* on_device;
};

// Holds views into the Parameters, which must outlive it. Not thread-safe.
class Encoder {
 public:
  Encoder(const ModelConfig& config, const Layout& layout, const Parameters& parameters);

  // Activations that Backward needs, from one forward pass.
  struct LayerTape {
    at::Tensor query_key_value;
    Attended attended;
    Normed after_attention;
    at::Tensor intermediate;  // Before the bias.
    at::Tensor activated;
    Normed after_output;
  };
  struct Tape {
    PassSeed dropout_seed;
    Normed first;
    std::vector<LayerTape> layers;
  };

  // [T, H] in the compute dtype. With a tape: dropout from its seed, and the activations are kept in it; without:
  // no dropout.
  at::Tensor Forward(const EncoderInput& input, Tape* tape) const;

  // Adds to the gradients of all parameters of the encoder, given that of Forward's result. The word embeddings' is
  // added to in any case.
  void Backward(at::Tensor d_output, const EncoderInput& input, const Tape& tape, const BackwardPass& pass) const;

 private:
  struct Layer {
    Affine query_key_value;
    Affine attention_output;
    Affine intermediate;
    Affine output;
    Affine norm_after_attention;
    Affine norm_after_output;
    int64_t first_weight;  // Its offset: what a backward pass up to this layer has finished begins there.
  };

  bool PreLn() const { return config_.norm == NormPlacement::kPreLn; }
  // `site` numbers the dropouts of one pass: 0 for the embeddings, then three a layer.
  Dropout DropoutAt(const Tape* tape, double probability, uint64_t site) const;
  const at::Tensor& Residual(const Normed& normed) const { return PreLn() ? normed.sum : normed.output; }
  // The residual leaves a Normed at its sum (pre-LN) or at its output (post-LN), and so comes back its gradient.
  NormedInflow Inflow(at::Tensor d_output, at::Tensor d_residual) const;
  NormSite SiteAfter(const Affine& linear, const Affine& norm, const Tape* tape, uint64_t site) const;
  Normed ForwardEmbeddings(const EncoderInput& input, const Tape* tape) const;
  void BackwardEmbeddings(at::Tensor d_output, const at::Tensor& d_residual, const EncoderInput& input,
                          const Tape& tape) const;

  const ModelConfig config_;
  at::ScalarType dtype_;
  Embeddings embeddings_;
  Affine first_norm_;
  std::vector<Layer> layers_;
};

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_ENCODER_H_
