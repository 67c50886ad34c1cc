#include "worker/model/cuda/attention.h"

#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "worker/model/cuda/operations.h"

namespace bert::model::cuda {
namespace {

constexpr int64_t kHeadSizeMultiple = 8;
constexpr int64_t kHeadSizeMax = 256;

const FlashAttention* host_functions = nullptr;

std::optional<double> Scale(const AttentionPlan& plan) { return 1.0 / std::sqrt(static_cast<double>(plan.head_size)); }

Attended Forward(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const AttentionPlan& plan,
                 double dropout) {
  auto [output, log_normalizer, seed, offset, unused] =
      at::_flash_attention_forward(query, key, value, plan.starts, plan.starts, plan.seq, plan.seq, dropout,
                                   /*is_causal=*/false, /*return_debug_mask=*/false, Scale(plan));
  return {.output = std::move(output),
          .log_normalizer = std::move(log_normalizer),
          .random_seed = std::move(seed),
          .random_offset = std::move(offset)};
}

std::vector<at::Tensor> Backward(const at::Tensor& d_output, const at::Tensor& query, const at::Tensor& key,
                                 const at::Tensor& value, const Attended& attended, const AttentionPlan& plan,
                                 double dropout) {
  auto [d_query, d_key, d_value] = at::_flash_attention_backward(
      d_output, query, key, value, attended.output.view_as(query), attended.log_normalizer, plan.starts, plan.starts,
      plan.seq, plan.seq, dropout, /*is_causal=*/false, attended.random_seed, attended.random_offset, Scale(plan));
  return {std::move(d_query), std::move(d_key), std::move(d_value)};
}

constexpr FlashAttention kDeviceFunctions = {.forward = Forward, .backward = Backward};

// [T, 3H] -> three views [T, heads, head_size].
std::vector<at::Tensor> Split(const at::Tensor& query_key_value, const AttentionPlan& plan) {
  return query_key_value.view({-1, 3, plan.heads, plan.head_size}).unbind(1);
}

}  // namespace

void SetHostFlashAttention(const FlashAttention* functions) { host_functions = functions; }

bool FlashAttentionServes(at::ScalarType dtype, int64_t head_size) {
  return dtype == at::kBFloat16 && head_size % kHeadSizeMultiple == 0 && head_size <= kHeadSizeMax;
}

const FlashAttention* FlashAttentionFor(const at::Tensor& x, const AttentionPlan& plan) {
  if (!plan.starts.defined() || !FlashAttentionServes(x.scalar_type(), plan.head_size)) return nullptr;
  return x.is_cuda() ? &kDeviceFunctions : host_functions;
}

Attended Attention(const FlashAttention& flash, const at::Tensor& query_key_value, const AttentionPlan& plan,
                   const Dropout& dropout) {
  const std::vector<at::Tensor> parts = Split(query_key_value, plan);
  Attended attended = flash.forward(parts[0], parts[1], parts[2], plan, dropout.probability);
  attended.output = attended.output.reshape({-1, plan.heads * plan.head_size});
  return attended;
}

at::Tensor AttentionBackward(const Launcher& launcher, const FlashAttention& flash, const at::Tensor& d_output,
                             const at::Tensor& query_key_value, const Weight& bias, const Attended& attended,
                             const AttentionPlan& plan, const Dropout& dropout) {
  const std::vector<at::Tensor> parts = Split(query_key_value, plan);
  std::vector<at::Tensor> gradients = flash.backward(d_output.reshape({-1, plan.heads, plan.head_size}), parts[0],
                                                     parts[1], parts[2], attended, plan, dropout.probability);
  for (at::Tensor& gradient : gradients) gradient = gradient.reshape({-1, plan.heads * plan.head_size});
  return JoinColumns(launcher, gradients, bias.grad);
}

}  // namespace bert::model::cuda
