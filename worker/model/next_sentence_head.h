// Whether the second part of a row follows the first: BERT's pooler and next-sentence classifier (Devlin et al. 2018,
// section 3.1; `bert.pooler.dense` and `cls.seq_relationship` in Hugging Face's names).
#ifndef BERT_WORKER_MODEL_NEXT_SENTENCE_HEAD_H_
#define BERT_WORKER_MODEL_NEXT_SENTENCE_HEAD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/model/operations.h"

namespace bert::model {

struct NextSentenceSums {
  at::Tensor nll;  // fp32 scalar: sum over rows of the negative log-likelihood, in nats.
  int64_t rows = 0;
  int64_t correct = 0;  // Where the more probable answer is the label; counted only when asked for.
};

// Plain ATen on every device: the work is one row of the encoder's output for each row of tokens. The two products are
// in the compute dtype, tanh and loss in fp32. `encoded` is the encoder's output [T, H], first_tokens int64 [R] where
// each row's [CLS] is in it, labels int64 [R] of 0 (follows) and 1 (does not). Holds views into the Parameters, which
// must outlive it.
class NextSentenceHead {
 public:
  NextSentenceHead(const Affine& pooler, const Affine& classifier) : pooler_(pooler), classifier_(classifier) {}

  // Adds `weight` times the gradient of the nll's sum to the head's own gradients and to `d_encoded` [T, H].
  NextSentenceSums ForwardBackward(const at::Tensor& encoded, const at::Tensor& first_tokens, const at::Tensor& labels,
                                   double weight, at::Tensor& d_encoded) const;
  NextSentenceSums Evaluate(const at::Tensor& encoded, const at::Tensor& first_tokens, const at::Tensor& labels) const;
  // fp32 [R, 2]
  at::Tensor Logits(const at::Tensor& encoded, const at::Tensor& first_tokens) const;

 private:
  struct Activations {
    at::Tensor first;   // [R, H]: the encoder's output at each row's [CLS].
    at::Tensor tanh;    // fp32 [R, H]
    at::Tensor pooled;  // The same in the compute dtype.
    at::Tensor logits;  // fp32 [R, 2]
  };

  Activations Forward(const at::Tensor& encoded, const at::Tensor& first_tokens) const;

  Affine pooler_;
  Affine classifier_;
};

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_NEXT_SENTENCE_HEAD_H_
