#include "worker/model/operations.h"

#include <ATen/ops/mm.h>

#include <utility>

#include "worker/model/cpu/operations.h"
#include "worker/model/cpu/products.h"
#include "worker/model/generic_operations.h"

namespace bert::model {
namespace {

bool InFp32(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kBFloat16 && !cpu::Bf16ProductsAreFast();
}

}  // namespace

at::Tensor MatMul(const at::Tensor& x, const Weight& weight) {
  if (InFp32(x)) return cpu::MatMulInFp32(x, weight);
  return at::mm(x, weight.value.t());
}

at::Tensor MatMulBackward(const at::Tensor& d_output, const at::Tensor& x, const Weight& weight) {
  if (InFp32(x)) return cpu::MatMulBackwardInFp32(d_output, x, weight);
  at::Tensor grad = weight.grad;
  if (x.scalar_type() == at::kFloat) {
    grad.addmm_(d_output.t(), x);
  } else if (x.is_cpu()) {
    cpu::Accumulate(grad, at::mm(d_output.t(), x));
  } else {
    grad.add_(at::mm(d_output.t(), x));
  }
  return at::mm(d_output, weight.value);
}

at::Tensor BiasGelu(const at::Tensor& x, const Weight& bias, Activation activation) {
  return x.is_cpu() ? cpu::BiasGelu(x, bias, activation) : generic::BiasGelu(x, bias, activation);
}

at::Tensor BiasGeluBackward(at::Tensor d_output, const at::Tensor& x, const Weight& bias, Activation activation) {
  return x.is_cpu() ? cpu::BiasGeluBackward(std::move(d_output), x, bias, activation)
                    : generic::BiasGeluBackward(std::move(d_output), x, bias, activation);
}

void ApplyDropout(at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return;
  x.is_cpu() ? cpu::ApplyDropout(x, dropout) : generic::ApplyDropout(x, dropout);
}

Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const NormSite& site) {
  return branch.is_cpu() ? cpu::AddDropoutNorm(std::move(branch), residual, site)
                         : generic::AddDropoutNorm(std::move(branch), residual, site);
}

NormedGrad AddDropoutNormBackward(const NormedInflow& inflow, const Normed& normed, const NormSite& site) {
  return normed.sum.is_cpu() ? cpu::AddDropoutNormBackward(inflow, normed, site)
                             : generic::AddDropoutNormBackward(inflow, normed, site);
}

AttentionPlan MakeAttentionPlan(const at::Tensor& segments, int64_t heads, int64_t head_size) {
  AttentionPlan plan{.rows = segments.size(0),
                     .seq = segments.size(1),
                     .heads = heads,
                     .head_size = head_size,
                     .segments = segments.contiguous(),
                     .spans = {}};
  if (!segments.is_cpu()) return plan;
  const int32_t* segment = plan.segments.const_data_ptr<int32_t>();
  for (int64_t row = 0; row < plan.rows; ++row, segment += plan.seq) {
    for (int64_t begin = 0, end = 0; begin < plan.seq; begin = end) {
      while (end < plan.seq && segment[end] == segment[begin]) ++end;
      if (segment[begin] >= 0) plan.spans.push_back({row, begin, end - begin});
    }
  }
  return plan;
}

Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout) {
  return query_key_value.is_cpu() ? cpu::Attention(query_key_value, bias, plan, dropout)
                                  : generic::Attention(query_key_value, bias, plan, dropout);
}

at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout) {
  return query_key_value.is_cpu()
             ? cpu::AttentionBackward(d_output, query_key_value, bias, attended, plan, dropout)
             : generic::AttentionBackward(d_output, query_key_value, bias, attended, plan, dropout);
}

CrossEntropyResult CrossEntropy(at::Tensor logits, const Weight& bias, const at::Tensor& labels, bool with_gradient) {
  return logits.is_cpu() ? cpu::CrossEntropy(std::move(logits), bias, labels, with_gradient)
                         : generic::CrossEntropy(std::move(logits), bias, labels, with_gradient);
}

at::Tensor Embed(const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype) {
  return ids.words.is_cpu() ? cpu::Embed(ids, embeddings, dtype) : generic::Embed(ids, embeddings, dtype);
}

void EmbedBackward(const at::Tensor& d_embedded, const EmbeddingIds& ids, const Embeddings& embeddings) {
  d_embedded.is_cpu() ? cpu::EmbedBackward(d_embedded, ids, embeddings)
                      : generic::EmbedBackward(d_embedded, ids, embeddings);
}

}  // namespace bert::model
