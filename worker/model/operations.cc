#include "worker/model/operations.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bitwise_right_shift.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "common/check.h"

namespace bert::model {
namespace {

const char* Approximation(Activation activation) { return activation == Activation::kGelu ? "none" : "tanh"; }

// grad (fp32) += value.
void Accumulate(const at::Tensor& grad, const at::Tensor& value) { grad.add_(value.to(at::kFloat)); }

// Where elements of a tensor of this shape are kept; the same bits as DropoutBits.
at::Tensor KeepMask(const Dropout& dropout, at::IntArrayRef sizes, at::Device device) {
  const int64_t numel = c10::multiply_integers(sizes);
  BERT_CHECK(numel <= int64_t{1} << 32) << numel << " elements; element numbers have 32 bits";
  constexpr int64_t kLow = 0xffffffff;
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
std::vector<at::Tensor> SplitHeads(const at::Tensor& query_key_value, const AttentionShape& shape) {
  return query_key_value.view({shape.rows, shape.seq, 3, shape.heads, shape.head_size})
      .permute({2, 0, 3, 1, 4})
      .unbind(0);
}

// [rows, heads, seq, head_size] -> [T, H].
at::Tensor MergeHeads(const at::Tensor& x, const AttentionShape& shape) {
  return x.transpose(1, 2).reshape({shape.rows * shape.seq, shape.heads * shape.head_size});
}

// fp32 [rows, heads, seq, seq], -inf across segments. Padding attends to padding, so that no row is empty.
at::Tensor Scores(const at::Tensor& query, const at::Tensor& key, const AttentionShape& shape,
                  const at::Tensor& segments) {
  at::Tensor scores = at::matmul(query, key.transpose(-1, -2)).to(at::kFloat);
  scores = scores * (1.0 / std::sqrt(static_cast<double>(shape.head_size)));
  if (!segments.defined()) return scores;
  const at::Tensor apart = segments.unsqueeze(1).ne(segments.unsqueeze(2)).unsqueeze(1);
  return scores.masked_fill(apart, -std::numeric_limits<double>::infinity());
}

}  // namespace

at::Tensor Linear(const at::Tensor& x, const Affine& affine) {
  return at::addmm(affine.bias.value, x, affine.weight.value.t());
}

at::Tensor LinearBackward(const at::Tensor& d_output, const at::Tensor& x, const Affine& affine) {
  if (x.scalar_type() == at::kFloat) {
    affine.weight.grad.addmm_(d_output.t(), x);
  } else {
    Accumulate(affine.weight.grad, at::mm(d_output.t(), x));
  }
  affine.bias.grad.add_(d_output.sum(at::IntArrayRef{0}, false, at::kFloat));
  return at::mm(d_output, affine.weight.value);
}

at::Tensor Gelu(const at::Tensor& x, Activation activation) { return at::gelu(x, Approximation(activation)); }

at::Tensor GeluBackward(const at::Tensor& d_output, const at::Tensor& x, Activation activation) {
  return at::gelu_backward(d_output, x, Approximation(activation));
}

void ApplyDropout(at::Tensor& x, const Dropout& dropout) {
  if (dropout.active()) x.copy_(Dropped(x, dropout));
}

Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const Dropout& dropout, const Affine& norm,
                      double eps) {
  Normed normed;
  normed.sum = Dropped(branch, dropout);
  if (residual.defined()) normed.sum = at::add(normed.sum, residual);
  const at::IntArrayRef hidden = norm.weight.value.sizes();
  auto [output, mean, rstd] =
      at::native_layer_norm(normed.sum.to(at::kFloat), hidden, norm.weight.value, norm.bias.value, eps);
  normed.output = output.to(branch.scalar_type());
  normed.mean = mean.flatten();
  normed.rstd = rstd.flatten();
  return normed;
}

NormedGrad AddDropoutNormBackward(const at::Tensor& d_output, const at::Tensor& d_direct, const Normed& normed,
                                  const Dropout& dropout, const Affine& norm) {
  const auto [d_sum, d_weight, d_bias] = at::native_layer_norm_backward(
      d_output.to(at::kFloat), normed.sum.to(at::kFloat), norm.weight.value.sizes(), normed.mean.unsqueeze(1),
      normed.rstd.unsqueeze(1), norm.weight.value, norm.bias.value, {true, true, true});
  norm.weight.grad.add_(d_weight);
  norm.bias.grad.add_(d_bias);
  const at::Tensor total = d_direct.defined() ? at::add(d_sum, d_direct) : d_sum;
  NormedGrad grad;
  grad.d_sum = total.to(d_output.scalar_type());
  grad.d_branch = Dropped(grad.d_sum, dropout);
  return grad;
}

Attended Attention(const at::Tensor& query_key_value, const AttentionShape& shape, const at::Tensor& segments,
                   const Dropout& dropout) {
  const std::vector<at::Tensor> parts = SplitHeads(query_key_value, shape);
  const at::Tensor scores = Scores(parts[0], parts[1], shape, segments);
  Attended attended;
  attended.log_normalizer = scores.logsumexp(-1);
  const at::Tensor probabilities =
      Dropped((scores - attended.log_normalizer.unsqueeze(-1)).exp(), dropout).to(query_key_value.scalar_type());
  attended.output = MergeHeads(at::matmul(probabilities, parts[2]), shape);
  return attended;
}

at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Attended& attended,
                             const AttentionShape& shape, const at::Tensor& segments, const Dropout& dropout) {
  const std::vector<at::Tensor> parts = SplitHeads(query_key_value, shape);
  const auto dtype = query_key_value.scalar_type();
  const at::Tensor d_context = d_output.view({shape.rows, shape.seq, shape.heads, shape.head_size}).transpose(1, 2);
  const at::Tensor context =
      attended.output.view({shape.rows, shape.seq, shape.heads, shape.head_size}).transpose(1, 2);
  const at::Tensor probabilities =
      (Scores(parts[0], parts[1], shape, segments) - attended.log_normalizer.unsqueeze(-1)).exp();

  const at::Tensor d_value = at::matmul(Dropped(probabilities, dropout).to(dtype).transpose(-1, -2), d_context);
  const at::Tensor d_probabilities = Dropped(at::matmul(d_context, parts[2].transpose(-1, -2)).to(at::kFloat), dropout);
  // sum_k P_k dP_k is the inner product of the output and its gradient, dropout included.
  const at::Tensor inner = (d_context.to(at::kFloat) * context.to(at::kFloat)).sum(-1, true);
  const at::Tensor d_scores =
      (probabilities * (d_probabilities - inner) * (1.0 / std::sqrt(static_cast<double>(shape.head_size)))).to(dtype);

  at::Tensor d_query_key_value = at::empty_like(query_key_value);
  const std::vector<at::Tensor> d_parts = SplitHeads(d_query_key_value, shape);
  d_parts[0].copy_(at::matmul(d_scores, parts[1]));
  d_parts[1].copy_(at::matmul(d_scores.transpose(-1, -2), parts[0]));
  d_parts[2].copy_(d_value);
  return d_query_key_value;
}

CrossEntropyResult CrossEntropy(at::Tensor logits, const at::Tensor& labels, bool with_gradient) {
  const at::Tensor index = labels.unsqueeze(1);
  at::Tensor log_probabilities = at::log_softmax(logits, 1, at::kFloat);
  CrossEntropyResult result;
  result.nll = log_probabilities.gather(1, index).sum().neg();
  if (!with_gradient) return result;
  at::Tensor d_logits = log_probabilities.exp_();
  d_logits.scatter_(1, index, d_logits.gather(1, index) - 1.0);
  result.d_logits = logits.copy_(d_logits);
  return result;
}

at::Tensor Embed(const at::Tensor& input_ids, const at::Tensor& position_ids, const at::Tensor& word,
                 const at::Tensor& position, const at::Tensor& token_type) {
  at::Tensor sum = at::embedding(word, input_ids.flatten());
  sum.add_(at::embedding(position, position_ids.flatten()));
  return sum.add_(token_type[0]);
}

void AddRows(const at::Tensor& grad, const at::Tensor& ids, const at::Tensor& d_rows) {
  grad.index_add_(0, ids, d_rows);
}

}  // namespace bert::model
