#include "worker/model/operations.h"

#include <ATen/Context.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <utility>

#include "worker/model/cpu/operations.h"
#include "worker/model/cpu/products.h"
#include "worker/model/cpu/weight_gradient.h"
#include "worker/model/cuda/attention.h"
#include "worker/model/cuda/operations.h"
#include "worker/model/cuda/products.h"
#include "worker/model/generic_operations.h"

namespace bert::model {
namespace {

bool InFp32(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kBFloat16 && !cpu::Bf16ProductsAreFast();
}

// Where cuBLASLt multiplies; else null.
const cuda::Launcher* ProductLauncher(const at::Tensor& x, const Weight& weight) {
  return cuda::ProductServes(x) && cuda::ProductServes(weight.value) ? cuda::LauncherFor(x) : nullptr;
}

}  // namespace

at::Tensor MatMul(const at::Tensor& x, const Weight& weight) {
  if (const auto* launcher = ProductLauncher(x, weight)) return cuda::MatMul(*launcher, x, weight.value, nullptr);
  if (InFp32(x)) return cpu::MatMulInFp32(x, weight);
  return at::mm(x, weight.value.t());
}

at::Tensor MatMulBackward(const at::Tensor& d_output, const at::Tensor& x, const Weight& weight, GradMode mode) {
  if (const auto* launcher = ProductLauncher(x, weight); launcher != nullptr && cuda::ProductServes(d_output)) {
    if (mode == GradMode::kReplace) weight.grad.zero_();
    return cuda::MatMulBackward(*launcher, d_output, x, weight);
  }
  if (InFp32(x)) return cpu::MatMulBackwardInFp32(d_output, x, weight, mode);
  at::Tensor grad = weight.grad;
  if (x.is_cpu() && x.scalar_type() == at::kBFloat16) {
    cpu::WeightGradient(d_output, x, grad, mode);
  } else if (mode == GradMode::kReplace) {
    grad.copy_(at::mm(d_output.t(), x));
  } else if (x.scalar_type() == at::kFloat) {
    grad.addmm_(d_output.t(), x);
  } else {
    grad.add_(at::mm(d_output.t(), x));
  }
  return at::mm(d_output, weight.value);
}

at::Tensor QueryKeyValue(const at::Tensor& x, const Affine& affine, const AttentionPlan& plan) {
  const auto* launcher = ProductLauncher(x, affine.weight);
  if (cuda::FlashAttentionFor(x, plan) == nullptr) return MatMul(x, affine.weight);
  if (launcher == nullptr) return at::addmm(affine.bias.value, x, affine.weight.value.t());
  return cuda::MatMul(*launcher, x, affine.weight.value, &affine.bias.value);
}

at::Tensor BiasGelu(const at::Tensor& x, const Weight& bias, Activation activation) {
  if (const auto* launcher = cuda::LauncherFor(x)) return cuda::BiasGelu(*launcher, x, bias, activation);
  return x.is_cpu() ? cpu::BiasGelu(x, bias, activation) : generic::BiasGelu(x, bias, activation);
}

at::Tensor BiasGeluBackward(at::Tensor d_output, const at::Tensor& x, const Weight& bias, Activation activation) {
  if (const auto* launcher = cuda::LauncherFor(x)) {
    return cuda::BiasGeluBackward(*launcher, std::move(d_output), x, bias, activation);
  }
  return x.is_cpu() ? cpu::BiasGeluBackward(std::move(d_output), x, bias, activation)
                    : generic::BiasGeluBackward(std::move(d_output), x, bias, activation);
}

void ApplyDropout(at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return;
  if (const auto* launcher = cuda::LauncherFor(x)) return cuda::ApplyDropout(*launcher, x, dropout);
  x.is_cpu() ? cpu::ApplyDropout(x, dropout) : generic::ApplyDropout(x, dropout);
}

Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const NormSite& site) {
  if (const auto* launcher = cuda::LauncherFor(branch)) {
    return cuda::AddDropoutNorm(*launcher, std::move(branch), residual, site);
  }
  return branch.is_cpu() ? cpu::AddDropoutNorm(std::move(branch), residual, site)
                         : generic::AddDropoutNorm(std::move(branch), residual, site);
}

NormedGrad AddDropoutNormBackward(const NormedInflow& inflow, const Normed& normed, const NormSite& site) {
  if (const auto* launcher = cuda::LauncherFor(normed.sum)) {
    return cuda::AddDropoutNormBackward(*launcher, inflow, normed, site);
  }
  return normed.sum.is_cpu() ? cpu::AddDropoutNormBackward(inflow, normed, site)
                             : generic::AddDropoutNormBackward(inflow, normed, site);
}

int64_t CountSegments(const at::Tensor& segments) {
  const int32_t* segment = segments.const_data_ptr<int32_t>();
  const int64_t seq = segments.size(1);
  int64_t count = 0;
  for (int64_t i = 0; i < segments.numel(); ++i) count += i % seq == 0 || segment[i] != segment[i - 1] ? 1 : 0;
  return count;
}

AttentionPlan MakeAttentionPlan(const at::Tensor& segments, int64_t heads, int64_t head_size, int64_t segments_max) {
  AttentionPlan plan{.rows = segments.size(0),
                     .seq = segments.size(1),
                     .heads = heads,
                     .head_size = head_size,
                     .tokens = segments.numel(),
                     .segments = segments.contiguous(),
                     .spans = {},
                     .starts = {}};
  if (const auto* launcher = cuda::LauncherFor(segments)) {
    const int64_t capacity = segments_max > 0 ? segments_max : CountSegments(plan.segments.cpu());
    plan.starts = cuda::SegmentStarts(*launcher, plan.segments, capacity);
  }
  if (!segments.is_cpu()) return plan;
  const int32_t* segment = plan.segments.const_data_ptr<int32_t>();
  for (int64_t row = 0; row < plan.rows; ++row, segment += plan.seq) {
    for (int64_t begin = 0, end = 0; begin < plan.seq; begin = end) {
      while (end < plan.seq && segment[end] == segment[begin]) ++end;
      if (segment[begin] >= 0) plan.spans.push_back({row, begin, end - begin, row * plan.seq + begin});
    }
  }
  return plan;
}

void SeedAttentionDropout(at::Device device, uint64_t seed) {
  if (!device.is_cuda()) return;
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed);
}

Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout) {
  if (const auto* flash = cuda::FlashAttentionFor(query_key_value, plan)) {
    return cuda::Attention(*flash, query_key_value, plan, dropout);
  }
  return query_key_value.is_cpu() ? cpu::Attention(query_key_value, bias, plan, dropout)
                                  : generic::Attention(query_key_value, bias, plan, dropout);
}

at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout) {
  if (const auto* flash = cuda::FlashAttentionFor(query_key_value, plan)) {
    return cuda::AttentionBackward(*cuda::LauncherFor(query_key_value), *flash, d_output, query_key_value, bias,
                                   attended, plan, dropout);
  }
  return query_key_value.is_cpu()
             ? cpu::AttentionBackward(d_output, query_key_value, bias, attended, plan, dropout)
             : generic::AttentionBackward(d_output, query_key_value, bias, attended, plan, dropout);
}

CrossEntropyResult CrossEntropy(at::Tensor logits, const Weight& bias, const at::Tensor& labels, bool with_gradient) {
  if (const auto* launcher = cuda::LauncherFor(logits)) {
    return cuda::CrossEntropy(*launcher, std::move(logits), bias, labels, with_gradient);
  }
  return logits.is_cpu() ? cpu::CrossEntropy(std::move(logits), bias, labels, with_gradient)
                         : generic::CrossEntropy(std::move(logits), bias, labels, with_gradient);
}

at::Tensor Embed(const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype) {
  if (const auto* launcher = cuda::LauncherFor(ids.words)) return cuda::Embed(*launcher, ids, embeddings, dtype);
  return ids.words.is_cpu() ? cpu::Embed(ids, embeddings, dtype) : generic::Embed(ids, embeddings, dtype);
}

void EmbedBackward(const at::Tensor& d_embedded, const EmbeddingIds& ids, const Embeddings& embeddings) {
  if (const auto* launcher = cuda::LauncherFor(d_embedded)) {
    return cuda::EmbedBackward(*launcher, d_embedded, ids, embeddings);
  }
  d_embedded.is_cpu() ? cpu::EmbedBackward(d_embedded, ids, embeddings)
                      : generic::EmbedBackward(d_embedded, ids, embeddings);
}

}  // namespace bert::model
