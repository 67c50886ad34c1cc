#include "worker/model/generic_operations.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bitwise_right_shift.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "common/check.h"

namespace bert::model::generic {
namespace {

const char* Approximation(Activation activation) { return activation == Activation::kGelu ? "none" : "tanh"; }

// grad += the sum of x over its rows.
void AddColumnSums(const Weight& bias, const at::Tensor& x) {
  at::Tensor grad = bias.grad;
  grad.add_(x.sum(at::IntArrayRef{0}, false, at::kFloat));
}

// Where elements of a tensor of this shape are kept; the same bits as DropoutBits.
at::Tensor KeepMask(const Dropout& dropout, at::IntArrayRef sizes, at::Device device) {
  BERT_CHECK(dropout.seed == nullptr) << "only the fused kernels read a dropout's seed from device memory";
  constexpr int64_t kLow = 0xffffffff;
  const int64_t numel = c10::multiply_integers(sizes);
  at::Tensor x = at::arange(numel, at::TensorOptions().dtype(at::kLong).device(device));
  x = (x * int64_t{0x9e3779b9} + static_cast<int64_t>(dropout.key & kLow)) & kLow;
  x = ((x ^ at::bitwise_right_shift(x, 16)) * int64_t{0x85ebca6b}) & kLow;
  x = x ^ static_cast<int64_t>(dropout.key >> 32);
  x = ((x ^ at::bitwise_right_shift(x, 13)) * int64_t{0xc2b2ae35}) & kLow;
  x = x ^ at::bitwise_right_shift(x, 16);
  return (x >= static_cast<int64_t>(dropout.threshold())).view(sizes);
}

at::Tensor Dropped(const at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  return at::where(KeepMask(dropout, x.sizes(), x.device()), x * dropout.scale(), at::Scalar(0.0)).to(x.scalar_type());
}

// [T, 3H] -> three views [rows, heads, seq, head_size].
std::vector<at::Tensor> SplitHeads(const at::Tensor& query_key_value, const AttentionPlan& plan) {
  return query_key_value.view({plan.rows, plan.seq, 3, plan.heads, plan.head_size}).permute({2, 0, 3, 1, 4}).unbind(0);
}

// [T, H] -> a view [rows, heads, seq, head_size].
at::Tensor Heads(const at::Tensor& x, const AttentionPlan& plan) {
  return x.view({plan.rows, plan.seq, plan.heads, plan.head_size}).transpose(1, 2);
}

double Scale(const AttentionPlan& plan) { return 1.0 / std::sqrt(static_cast<double>(plan.head_size)); }

// fp32 [rows, heads, seq, seq], -inf across segments. Padding attends to padding, so that no row is empty.
at::Tensor Scores(const at::Tensor& query, const at::Tensor& key, const AttentionPlan& plan) {
  const at::Tensor scores = at::matmul(query, key.transpose(-1, -2)).to(at::kFloat) * Scale(plan);
  const at::Tensor apart = plan.segments.unsqueeze(1).ne(plan.segments.unsqueeze(2)).unsqueeze(1);
  return scores.masked_fill(apart, -std::numeric_limits<double>::infinity());
}

}  // namespace

at::Tensor BiasGelu(const at::Tensor& x, const Weight& bias, Activation activation) {
  return at::gelu(x + bias.value, Approximation(activation));
}

at::Tensor BiasGeluBackward(at::Tensor d_output, const at::Tensor& x, const Weight& bias, Activation activation) {
  at::Tensor d_x = at::gelu_backward(d_output, x + bias.value, Approximation(activation));
  AddColumnSums(bias, d_x);
  return d_x;
}

void ApplyDropout(at::Tensor& x, const Dropout& dropout) { x.copy_(Dropped(x, dropout)); }

Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const NormSite& site) {
  Normed normed;
  normed.sum = Dropped(site.bias == nullptr ? branch : branch + site.bias->value, site.dropout);
  if (residual.defined()) normed.sum = normed.sum + residual;
  auto [output, mean, rstd] = at::native_layer_norm(normed.sum.to(at::kFloat), site.norm->weight.value.sizes(),
                                                    site.norm->weight.value, site.norm->bias.value, site.eps);
  normed.output = output.to(branch.scalar_type());
  normed.mean = mean.flatten();
  normed.rstd = rstd.flatten();
  return normed;
}

NormedGrad AddDropoutNormBackward(const NormedInflow& inflow, const Normed& normed, const NormSite& site) {
  at::Tensor d_output = inflow.d_output.to(at::kFloat);
  if (inflow.d_output_too.defined()) d_output = d_output + inflow.d_output_too;
  const Affine& norm = *site.norm;
  auto [d_sum, d_weight, d_bias] = at::native_layer_norm_backward(
      d_output, normed.sum.to(at::kFloat), norm.weight.value.sizes(), normed.mean.unsqueeze(1),
      normed.rstd.unsqueeze(1), norm.weight.value, norm.bias.value, {true, true, true});
  at::Tensor weight_grad = norm.weight.grad;
  at::Tensor bias_grad = norm.bias.grad;
  weight_grad.add_(d_weight);
  bias_grad.add_(d_bias);
  if (inflow.d_sum.defined()) d_sum = d_sum + inflow.d_sum;
  NormedGrad grad;
  grad.d_sum = d_sum.to(normed.sum.scalar_type());
  grad.d_branch = Dropped(grad.d_sum, site.dropout);
  if (site.bias != nullptr) AddColumnSums(*site.bias, grad.d_branch);
  return grad;
}

Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout) {
  const std::vector<at::Tensor> parts = SplitHeads(query_key_value + bias.value, plan);
  const at::Tensor scores = Scores(parts[0], parts[1], plan);
  Attended attended;
  attended.log_normalizer = scores.logsumexp(-1);
  const at::Tensor probabilities =
      Dropped((scores - attended.log_normalizer.unsqueeze(-1)).exp(), dropout).to(query_key_value.scalar_type());
  attended.output =
      at::matmul(probabilities, parts[2]).transpose(1, 2).reshape({plan.rows * plan.seq, plan.heads * plan.head_size});
  return attended;
}

at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout) {
  const std::vector<at::Tensor> parts = SplitHeads(query_key_value + bias.value, plan);
  const auto dtype = query_key_value.scalar_type();
  const at::Tensor d_context = Heads(d_output, plan);
  const at::Tensor probabilities = (Scores(parts[0], parts[1], plan) - attended.log_normalizer.unsqueeze(-1)).exp();
  const at::Tensor d_probabilities = Dropped(at::matmul(d_context, parts[2].transpose(-1, -2)).to(at::kFloat), dropout);
  // sum_k P_k dP_k is the inner product of the output and its gradient, dropout included.
  const at::Tensor inner =
      (d_context.to(at::kFloat) * Heads(attended.output, plan).to(at::kFloat)).sum(-1, /*keepdim=*/true);
  const at::Tensor d_scores = (probabilities * (d_probabilities - inner) * Scale(plan)).to(dtype);

  at::Tensor d_query_key_value = at::empty_like(query_key_value);
  const std::vector<at::Tensor> d_parts = SplitHeads(d_query_key_value, plan);
  d_parts[0].copy_(at::matmul(d_scores, parts[1]));
  d_parts[1].copy_(at::matmul(d_scores.transpose(-1, -2), parts[0]));
  d_parts[2].copy_(at::matmul(Dropped(probabilities, dropout).to(dtype).transpose(-1, -2), d_context));
  AddColumnSums(bias, d_query_key_value);
  return d_query_key_value;
}

CrossEntropyResult CrossEntropy(at::Tensor logits, const Weight& bias, const at::Tensor& labels, bool with_gradient) {
  const at::Tensor index = labels.clamp_min(0).unsqueeze(1);
  const at::Tensor nobodys = labels.lt(0).unsqueeze(1);
  at::Tensor log_probabilities = at::log_softmax(logits + bias.value, 1, at::kFloat);
  CrossEntropyResult result;
  result.nll = log_probabilities.gather(1, index).masked_fill(nobodys, 0).sum().neg();
  if (!with_gradient) return result;
  at::Tensor d_logits = log_probabilities.exp_();
  d_logits.scatter_(1, index, d_logits.gather(1, index) - 1.0);
  d_logits.masked_fill_(nobodys, 0);
  result.d_logits = logits.copy_(d_logits);
  AddColumnSums(bias, d_logits);
  return result;
}

at::Tensor Embed(const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype) {
  at::Tensor sum = at::embedding(embeddings.word.value, ids.words);
  sum.add_(at::embedding(embeddings.position.value, ids.positions));
  const at::Tensor& types = embeddings.token_type.value;
  sum.add_(ids.token_types.defined() ? at::embedding(types, ids.token_types) : types[0]);
  return sum.to(dtype);
}

void EmbedBackward(const at::Tensor& d_embedded, const EmbeddingIds& ids, const Embeddings& embeddings) {
  const at::Tensor d_rows = d_embedded.to(at::kFloat);
  at::Tensor word_grad = embeddings.word.grad;
  at::Tensor position_grad = embeddings.position.grad;
  at::Tensor token_type_grad = embeddings.token_type.grad;
  word_grad.index_add_(0, ids.words, d_rows);
  position_grad.index_add_(0, ids.positions, d_rows);
  if (ids.token_types.defined()) {
    token_type_grad.index_add_(0, ids.token_types, d_rows);
  } else {
    token_type_grad[0].add_(d_rows.sum(0));
  }
}

}  // namespace bert::model::generic
