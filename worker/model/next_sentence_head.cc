#include "worker/model/next_sentence_head.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>

namespace bert::model {
namespace {

at::Tensor NllSum(const at::Tensor& log_probabilities, const at::Tensor& labels) {
  return log_probabilities.gather(1, labels.unsqueeze(1)).sum().neg();
}

void AddColumnSums(const Weight& bias, const at::Tensor& d) {
  at::Tensor grad = bias.grad;
  grad.add_(d.sum(0));
}

}  // namespace

NextSentenceHead::Activations NextSentenceHead::Forward(const at::Tensor& encoded,
                                                        const at::Tensor& first_tokens) const {
  Activations out;
  out.first = encoded.index_select(0, first_tokens);
  out.tanh = (MatMul(out.first, pooler_.weight).to(at::kFloat) + pooler_.bias.value).tanh();
  out.pooled = out.tanh.to(encoded.scalar_type());
  out.logits = MatMul(out.pooled, classifier_.weight).to(at::kFloat) + classifier_.bias.value;
  return out;
}

NextSentenceSums NextSentenceHead::ForwardBackward(const at::Tensor& encoded, const at::Tensor& first_tokens,
                                                   const at::Tensor& labels, double weight,
                                                   at::Tensor& d_encoded) const {
  const Activations saved = Forward(encoded, first_tokens);
  const at::Tensor log_probabilities = at::log_softmax(saved.logits, 1);
  const NextSentenceSums sums = {.nll = NllSum(log_probabilities, labels), .rows = labels.size(0), .correct = 0};

  const at::Tensor index = labels.unsqueeze(1);
  at::Tensor d_logits = log_probabilities.exp();
  d_logits.scatter_(1, index, d_logits.gather(1, index) - 1.0);
  d_logits.mul_(weight);
  AddColumnSums(classifier_.bias, d_logits);
  const at::ScalarType dtype = encoded.scalar_type();
  const at::Tensor d_pooled = MatMulBackward(d_logits.to(dtype), saved.pooled, classifier_.weight);
  const at::Tensor d_transformed = d_pooled.to(at::kFloat) * (1.0 - saved.tanh * saved.tanh);
  AddColumnSums(pooler_.bias, d_transformed);
  d_encoded.index_add_(0, first_tokens, MatMulBackward(d_transformed.to(dtype), saved.first, pooler_.weight));
  return sums;
}

NextSentenceSums NextSentenceHead::Evaluate(const at::Tensor& encoded, const at::Tensor& first_tokens,
                                            const at::Tensor& labels) const {
  const at::Tensor logits = Logits(encoded, first_tokens);
  return {.nll = NllSum(at::log_softmax(logits, 1), labels),
          .rows = labels.size(0),
          .correct = logits.argmax(1).eq(labels).sum().item<int64_t>()};
}

at::Tensor NextSentenceHead::Logits(const at::Tensor& encoded, const at::Tensor& first_tokens) const {
  return Forward(encoded, first_tokens).logits;
}

}  // namespace bert::model
