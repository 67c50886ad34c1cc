// The differentiable operations of the encoder, each with its written-out backward pass. They compute in the dtype of
// their inputs (fp32 or bf16); softmax, LayerNorm, the loss and every gradient of a parameter accumulate in fp32.
//
// On CPU everything between the matrix multiplications goes through the fused loops of cpu/; on other devices through
// plain ATen (generic_operations.h), which is also what the tests compare those loops with. T is the number of tokens
// (rows * positions), H the hidden size. Gradients of parameters are added to Weight::grad.
#ifndef BERT_WORKER_MODEL_OPERATIONS_H_
#define BERT_WORKER_MODEL_OPERATIONS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/model/dropout.h"
#include "worker/model/model_config.h"

namespace bert::model {

// A parameter as the forward pass reads it (fp32 or bf16) and its slice of the flat fp32 gradient.
struct Weight {
  at::Tensor value;
  at::Tensor grad;
};

struct Affine {
  Weight weight;
  Weight bias;
};

// x [N, in] -> [N, out] with weight [out, in]. The bias is left to the operation that follows, which reads the result
// anyway.
at::Tensor MatMul(const at::Tensor& x, const Weight& weight);
// Returns the gradient of x.
at::Tensor MatMulBackward(const at::Tensor& d_output, const at::Tensor& x, const Weight& weight);

// gelu(x + bias).
at::Tensor BiasGelu(const at::Tensor& x, const Weight& bias, Activation activation);
// Takes d_output over; returns the gradient of x.
at::Tensor BiasGeluBackward(at::Tensor d_output, const at::Tensor& x, const Weight& bias, Activation activation);

// Zeroes and scales elements of x in place. The backward pass is the same call on the gradient.
void ApplyDropout(at::Tensor& x, const Dropout& dropout);

// sum = residual + dropout(branch + bias); output = LayerNorm(sum) with its affine in fp32.
struct NormSite {
  const Affine* norm = nullptr;
  double eps = 0;
  const Weight* bias = nullptr;  // Of the branch, or null for none.
  Dropout dropout;
};
struct Normed {
  at::Tensor sum;     // [N, H]
  at::Tensor output;  // [N, H]
  at::Tensor mean;    // fp32 [N]
  at::Tensor rstd;    // fp32 [N]
};
// Takes `branch` over. `residual` may be undefined: then it adds nothing.
Normed AddDropoutNorm(at::Tensor branch, const at::Tensor& residual, const NormSite& site);

struct NormedGrad {
  at::Tensor d_sum;     // Also the gradient of the residual.
  at::Tensor d_branch;  // The same tensor as d_sum when no dropout is active.
};
// What reaches `normed` from above. Those that are undefined add nothing.
struct NormedInflow {
  at::Tensor d_output;
  at::Tensor d_output_too;  // A second gradient of the output.
  at::Tensor d_sum;         // Past the LayerNorm.
};
NormedGrad AddDropoutNormBackward(const NormedInflow& inflow, const Normed& normed, const NormSite& site);

// Self-attention within the segments of rows of `seq` tokens.
struct AttentionPlan {
  // A segment: tokens [begin, begin + length) of a row.
  struct Span {
    int64_t row = 0;
    int64_t begin = 0;
    int64_t length = 0;
  };

  int64_t rows = 0;
  int64_t seq = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
  at::Tensor segments;      // int32 [rows, seq].
  std::vector<Span> spans;  // On CPU only: all segments in order; padding is in none.
};
// segments as in MaskedBatch.
AttentionPlan MakeAttentionPlan(const at::Tensor& segments, int64_t heads, int64_t head_size);

struct Attended {
  at::Tensor output;          // [T, H]
  at::Tensor log_normalizer;  // fp32 [rows, heads, seq]: log of the softmax's denominator.
};
// query_key_value: [T, 3H] without the bias [3H].
Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout);
// Recomputes the probabilities. Returns the gradient of query_key_value.
at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout);

struct CrossEntropyResult {
  at::Tensor nll;       // fp32 scalar: the sum, in nats.
  at::Tensor d_logits;  // Undefined unless asked for.
};
// Softmax cross-entropy of logits + bias [M, V] against labels int64 [M]. Takes `logits` over.
CrossEntropyResult CrossEntropy(at::Tensor logits, const Weight& bias, const at::Tensor& labels, bool with_gradient);

// int64 [T] each.
struct EmbeddingIds {
  at::Tensor words;
  at::Tensor positions;
  at::Tensor token_types;  // Undefined: all 0.
};
// The embeddings of a token: word, position and token type.
struct Embeddings {
  Weight word;  // Values in fp32: the sum of the three is rounded once.
  Weight position;
  Weight token_type;
};
// [T, H] in `dtype`.
at::Tensor Embed(const EmbeddingIds& ids, const Embeddings& embeddings, at::ScalarType dtype);
void EmbedBackward(const at::Tensor& d_embedded, const EmbeddingIds& ids, const Embeddings& embeddings);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_OPERATIONS_H_
