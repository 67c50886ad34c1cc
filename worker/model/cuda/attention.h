// Self-attention within segments by PyTorch's flash attention for rows of varying lengths (Dao 2023), which keeps no
// probabilities: per layer its output and one fp32 a token and head.
//
// Dropout of the probabilities is its own: it draws from Philox with the seed of the device's default generator, which
// SeedAttentionDropout sets at the begin of a pass, and an offset that each call moves on. So a repeated pass repeats
// its bits, but they are not those of DropoutBits that the CPU uses.
#ifndef BERT_WORKER_MODEL_CUDA_ATTENTION_H_
#define BERT_WORKER_MODEL_CUDA_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/model/cuda/launcher.h"
#include "worker/model/operations.h"

namespace bert::model::cuda {

// The two functions as PyTorch has them, for query, key and value [T, heads, head_size] and int32 [segments + 1] of
// starts.
struct FlashAttention {
  Attended (*forward)(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      const AttentionPlan& plan, double dropout);
  // The gradients of query, key and value.
  std::vector<at::Tensor> (*backward)(const at::Tensor& d_output, const at::Tensor& query, const at::Tensor& key,
                                      const at::Tensor& value, const Attended& attended, const AttentionPlan& plan,
                                      double dropout);
};

// Not in fp32, nor for heads whose size is no multiple of 8 or above 256.
bool FlashAttentionServes(at::ScalarType dtype, int64_t head_size);

// Null where it does not serve, and on the CPU, unless a test has set an emulation.
const FlashAttention* FlashAttentionFor(const at::Tensor& x, const AttentionPlan& plan);
void SetHostFlashAttention(const FlashAttention* functions);

// query_key_value has its bias already.
Attended Attention(const FlashAttention& flash, const at::Tensor& query_key_value, const AttentionPlan& plan,
                   const Dropout& dropout);
// Adds to bias.grad.
at::Tensor AttentionBackward(const Launcher& launcher, const FlashAttention& flash, const at::Tensor& d_output,
                             const at::Tensor& query_key_value, const Weight& bias, const Attended& attended,
                             const AttentionPlan& plan, const Dropout& dropout);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_ATTENTION_H_
