// BERT with its masked-language-model head, on packed rows.
#ifndef BERT_WORKER_MODEL_MASKED_LM_H_
#define BERT_WORKER_MODEL_MASKED_LM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/encoder.h"
#include "worker/model/layout.h"
#include "worker/model/model_config.h"
#include "worker/model/next_sentence_head.h"
#include "worker/model/parameters.h"

namespace bert::model {

// A micro-batch of R rows of at most S tokens. A row holds one or more segments (documents or parts of documents), each
// in one piece, numbered along the row, padding at its end; attention never crosses from one to another and positions
// start at 0 in each.
struct MaskedBatch {
  at::Tensor input_ids;         // int64 [R, S]; padding holds pad_token_id.
  at::Tensor position_ids;      // int64 [R, S]; within the segment.
  at::Tensor segments;          // int32 [R, S]; 0-based number of the segment in its row, -1 on padding.
  at::Tensor masked_positions;  // int64 [M]; indices into the flattened [R * S].
  at::Tensor labels;            // int64 [M]; the original tokens there. Negative: the position does not count.
  // Of sentence pairs, else undefined. A pair is one segment and begins with its row's [CLS].
  at::Tensor token_type_ids = {};  // int64 [R, S]; 0 up to the first [SEP] and on padding, 1 behind. Undefined: all 0.
  at::Tensor next_sentence_labels = {};  // int64 [R]; 0 where the second part follows the first, 1 where not.
  // At least the number of segments, padding of each row counting as one; 0: unknown, which CUDA devices have to count.
  int64_t segments_max = 0;
  int64_t masked_tokens = -1;  // Labels that count; -1: all.
};

// INVALID_ARGUMENT where a shape, a dtype, an id or a position does not fit the model. Reads every id: for input from
// outside the process.
absl::Status ValidateBatch(const MaskedBatch& batch, const ModelConfig& config);

// The same on `device`, from the CPU.
MaskedBatch ToDevice(MaskedBatch batch, at::Device device);

struct LossSums {
  at::Tensor nll;  // fp32 scalar: sum over masked tokens of the negative log-likelihood, in nats.
  int64_t masked_tokens = 0;
  int64_t correct = 0;  // Where the most probable token is the label; counted only when asked for.
  // Of the rows' next-sentence labels, where they are given; else undefined and 0.
  NextSentenceSums next_sentence = {};
};

// Forward and backward are written out operation by operation (encoder.h, operations.h) instead of recorded by
// autograd: gradients land in the flat fp32 buffer at once, and nothing that the backward pass can recompute cheaply is
// kept.
//
// Not thread-safe. Owns its parameters.
class MaskedLm {
 public:
  static absl::StatusOr<std::unique_ptr<MaskedLm>> Create(const ModelConfig& config, Precision precision,
                                                          at::Device device);

  const ModelConfig& config() const { return config_; }
  Parameters& parameters() { return *parameters_; }

  // Normal(0, initializer_range) for weights, truncated nowhere; 0 for biases, 1 for LayerNorm weights. The same seed
  // gives the same bits, whatever the number of threads and the device.
  void InitializeWeights(uint64_t seed);

  // Forward with dropout from `dropout_seed` (so that a repeated step repeats its bits) and then backward: adds
  // d(nll sum)/d(parameters) to parameters().grad(), or replaces it, which spares a pass over memory for the zeros and
  // one for the sum. Nothing is divided: the caller divides by the global token count. With labels for it, so does the
  // next-sentence loss, its sum over rows times `next_sentence_weight`: the global count of masked tokens over that of
  // rows makes the division right for both.
  LossSums ForwardBackward(const MaskedBatch& batch, PassSeed dropout_seed, double next_sentence_weight = 1,
                           const BackwardPass& pass = {});

  // No dropout, no gradients; counts `correct`.
  LossSums Evaluate(const MaskedBatch& batch);

  // fp32 [R, 2]: that the second part of each row follows the first, and that not. Only with config().next_sentence.
  at::Tensor NextSentenceLogits(const MaskedBatch& batch);

  // fp32 [M, vocab_size] at the masked positions; no dropout, no gradients. `labels` is not read.
  at::Tensor Logits(const MaskedBatch& batch);

 private:
  // The head's activations on the masked rows.
  struct HeadTape {
    at::Tensor rows;         // [M, H] of the encoder's output.
    at::Tensor transformed;  // Before the bias.
    Normed normed;
  };

  MaskedLm(const ModelConfig& config, const Layout& layout, std::unique_ptr<Parameters> parameters);

  // Zeroes what a backward pass with GradMode::kReplace adds to.
  void ZeroSums();
  NormSite TransformSite() const;
  at::Tensor HeadForward(const at::Tensor& encoded, const at::Tensor& masked_positions, HeadTape* tape) const;
  // Only where the batch has its labels.
  bool HasNextSentence(const MaskedBatch& batch) const;
  // Returns the gradient of `encoded`, zero outside the masked rows.
  at::Tensor HeadBackward(const at::Tensor& d_logits, const HeadTape& tape, const at::Tensor& encoded,
                          const at::Tensor& masked_positions, GradMode mode) const;

  ModelConfig config_;
  std::unique_ptr<Parameters> parameters_;
  Encoder encoder_;
  Affine transform_;
  Affine transform_norm_;
  Affine decoder_;
  std::optional<NextSentenceHead> next_sentence_;
  std::vector<int64_t> sums_;  // Parameters whose gradients do not come from a MatMul alone, in order.
  int64_t head_offset_ = 0;    // Of the head's first parameter.
};

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_MASKED_LM_H_
