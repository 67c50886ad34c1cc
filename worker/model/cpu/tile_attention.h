// Attention of bf16 segments with all products on matrix tiles, head by head.
#ifndef BERT_WORKER_MODEL_CPU_TILE_ATTENTION_H_
#define BERT_WORKER_MODEL_CPU_TILE_ATTENTION_H_

#include "worker/model/cpu/kernels.h"
#include "worker/model/operations.h"

namespace bert::model::cpu {

// Whether this machine has tiles and heads of this size fill them.
bool TileAttentionServes(const AttentionPlan& plan);

// What both passes read; all in the tokens' order of the plan.
struct TileAttentionInput {
  const AttentionPlan& plan;
  const Dropout& dropout;
  const Bf16* query_key_value;  // [T, 3H] without the bias.
  const Bf16* bias;             // [3H]
};

// As Attention; scores, softmax and sums in fp32, probabilities rounded to bf16. Writes the segments' tokens of output
// [T, H] and log_normalizer [rows, heads, seq].
void TileAttention(const TileAttentionInput& input, Bf16* output, float* log_normalizer);

struct TileAttended {
  const Bf16* output;
  const Bf16* d_output;  // [T, H]
  const float* log_normalizer;
};
// Writes the segments' tokens of d_query_key_value [T, 3H].
void TileAttentionBackward(const TileAttentionInput& input, const TileAttended& attended, Bf16* d_query_key_value);

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_TILE_ATTENTION_H_
