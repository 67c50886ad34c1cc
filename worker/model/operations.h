// The differentiable operations of the encoder, each with its hand-written backward pass. They compute in the dtype of
// their inputs (fp32 or bf16); softmax, LayerNorm, the loss and every gradient of a parameter accumulate in fp32.
//
// These are plain ATen and run on any device; on CPU the parts between the matrix multiplications go through the fused
// kernels of cpu_kernels.h. T is the number of tokens (rows * positions), H the hidden size.
#ifndef BERT_WORKER_MODEL_OPERATIONS_H_
#define BERT_WORKER_MODEL_OPERATIONS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/model/dropout.h"
#include "worker/model/model_config.h"

namespace bert::model {

// A weight as the forward pass reads it (fp32 or bf16) and its slice of the flat fp32 gradient.
struct Weight {
  at::Tensor value;
  at::Tensor grad;
};

struct Affine {
  Weight weight;
  Weight bias;
};

// x [N, in] -> [N, out] with weight [out, in].
at::Tensor Linear(const at::Tensor& x, const Affine& affine);
// Adds to the gradients of weight and bias; returns d(x).
at::Tensor LinearBackward(const at::Tensor& d_output, const at::Tensor& x, const Affine& affine);

at::Tensor Gelu(const at::Tensor& x, Activation activation);
at::Tensor GeluBackward(const at::Tensor& d_output, const at::Tensor& x, Activation activation);

// Zeroes and scales elements of x in place. The backward pass is the same call on the gradient.
void ApplyDropout(at::Tensor& x, const Dropout& dropout);

// sum = residual + dropout(branch); output = LayerNorm(sum), with the affine in fp32.
struct Normed {
  at::Tensor sum;     // [N, H]
  at::Tensor output;  // [N, H]
  at::Tensor mean;    // fp32 [N]
  at::Tensor rstd;    // fp32 [N]
};
// `residual` may be undefined: then sum is the branch. Takes `branch` over (sum may share its memory).
Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const Dropout& dropout, const Affine& norm,
                      double eps);

struct NormedGrad {
  at::Tensor d_sum;     // Also the gradient of the residual.
  at::Tensor d_branch;  // Shares d_sum's memory when no dropout is active.
};
// `d_direct` (undefined for none) is a gradient that reaches `sum` past the LayerNorm: added to d_sum.
NormedGrad AddDropoutNormBackward(const at::Tensor& d_output, const at::Tensor& d_direct, const Normed& normed,
                                  const Dropout& dropout, const Affine& norm);

// Self-attention within segments, over rows of `seq` tokens.
struct AttentionShape {
  int64_t rows = 0;
  int64_t seq = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
};
struct Attended {
  at::Tensor output;          // [T, H]
  at::Tensor log_normalizer;  // fp32 [rows, heads, seq]: log of the softmax's denominator.
};
// query_key_value: [T, 3H]. segments: int32 [rows, seq], or undefined where every row is one segment without padding.
Attended Attention(const at::Tensor& query_key_value, const AttentionShape& shape, const at::Tensor& segments,
                   const Dropout& dropout);
// Recomputes the probabilities. Returns d(query_key_value).
at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Attended& attended,
                             const AttentionShape& shape, const at::Tensor& segments, const Dropout& dropout);

struct CrossEntropyResult {
  at::Tensor nll;       // fp32 scalar: the sum, in nats.
  at::Tensor d_logits;  // Undefined unless asked for; takes the memory of `logits`.
};
CrossEntropyResult CrossEntropy(at::Tensor logits, const at::Tensor& labels, bool with_gradient);

// fp32 [T, H]: the sum of the three embeddings, token type 0.
at::Tensor Embed(const at::Tensor& input_ids, const at::Tensor& position_ids, const at::Tensor& word,
                 const at::Tensor& position, const at::Tensor& token_type);
// Adds rows of fp32 `d_rows` [N, H] to grad[ids].
void AddRows(const at::Tensor& grad, const at::Tensor& ids, const at::Tensor& d_rows);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_OPERATIONS_H_
