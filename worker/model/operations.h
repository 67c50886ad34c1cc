// The differentiable operations of the encoder, each with its written-out backward pass. They compute in the dtype of
// their inputs (fp32 or bf16); softmax, LayerNorm, the loss and every gradient of a parameter accumulate in fp32.
//
// On CPU everything between the matrix multiplications goes through the fused loops of cpu/, on CUDA devices through
// the fused kernels of cuda/; what neither serves through plain ATen (generic_operations.h), which is also what the
// tests compare both with. T is the number of tokens, H the hidden size. Gradients of parameters are added to
// Weight::grad.
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

// What becomes of what a gradient held before.
enum class GradMode {
  kAdd,
  kReplace,  // It need not even have been written.
};

// x [N, in] -> [N, out] with weight [out, in]. The bias is left to the operation that follows, which reads the result
// anyway.
at::Tensor MatMul(const at::Tensor& x, const Weight& weight);
// Returns the gradient of x.
at::Tensor MatMulBackward(const at::Tensor& d_output, const at::Tensor& x, const Weight& weight,
                          GradMode mode = GradMode::kAdd);

// What Attention takes: x [N, H] -> [N, 3H], with the affine's bias where a product can add it for nothing, else
// without.
struct AttentionPlan;
at::Tensor QueryKeyValue(const at::Tensor& x, const Affine& affine, const AttentionPlan& plan);

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
  // A segment: columns [begin, begin + length) of a row.
  struct Span {
    int64_t row = 0;
    int64_t begin = 0;
    int64_t length = 0;
    int64_t token = 0;  // Of its first column, among the T tokens.
  };

  int64_t rows = 0;
  int64_t seq = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
  int64_t tokens = 0;       // T: rows * seq, or fewer where padding is left out, which only the CPU can.
  at::Tensor segments;      // int32 [rows, seq].
  std::vector<Span> spans;  // On CPU only: all segments in order of their tokens; padding is in none.
  at::Tensor starts = {};   // On CUDA devices only: of cuda::SegmentStarts.
};
// Of int32 [rows, seq], contiguous and on the CPU: padding of a row counts as one.
int64_t CountSegments(const at::Tensor& segments);
// segments as in MaskedBatch, as is segments_max. Where that is unknown on a CUDA device, it waits for the device to
// count them. No token is left out.
AttentionPlan MakeAttentionPlan(const at::Tensor& segments, int64_t heads, int64_t head_size, int64_t segments_max = 0);

// To be called before a pass with dropout on that device: seeds what draws the dropout of CUDA's flash attention.
void SeedAttentionDropout(at::Device device, uint64_t seed);

struct Attended {
  at::Tensor output;          // [T, H]
  at::Tensor log_normalizer;  // fp32 [rows, heads, seq], or of flash attention: log of the softmax's denominator.
  // Of CUDA's flash attention: from what its dropout was drawn.
  at::Tensor random_seed = {};
  at::Tensor random_offset = {};
};
// query_key_value: [T, 3H], of QueryKeyValue with this bias [3H].
Attended Attention(const at::Tensor& query_key_value, const Weight& bias, const AttentionPlan& plan,
                   const Dropout& dropout);
// Recomputes the probabilities. Returns the gradient of query_key_value.
at::Tensor AttentionBackward(const at::Tensor& d_output, const at::Tensor& query_key_value, const Weight& bias,
                             const Attended& attended, const AttentionPlan& plan, const Dropout& dropout);

struct CrossEntropyResult {
  at::Tensor nll;       // fp32 scalar: the sum, in nats.
  at::Tensor d_logits;  // Undefined unless asked for.
};
// Softmax cross-entropy of logits + bias [M, V] against labels int64 [M]. A negative label is nobody's: its row has
// neither loss nor gradient. Takes `logits` over.
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
