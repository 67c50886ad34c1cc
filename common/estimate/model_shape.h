// What a model's cost depends on.
#ifndef BERT_COMMON_ESTIMATE_MODEL_SHAPE_H_
#define BERT_COMMON_ESTIMATE_MODEL_SHAPE_H_

#include <cstdint>

namespace bert::estimate {

struct ModelShape {
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
};

// Of one or more rows: how many, their real tokens and how many of those are predicted.
struct RowCounts {
  double rows = 0;
  double tokens = 0;
  double masked_tokens = 0;
};

// Floating-point operations of forward and backward, by the products alone: for a row of s tokens with m predicted ones
//
//   6 s L (4 d^2 + 2 d f) + 12 L s^2 d + 6 m (d^2 + d V)
//
// with d the hidden size, f the intermediate size, L layers and V words. s is the rows' mean length.
double TrainFlops(const ModelShape& shape, const RowCounts& counts);

// Of the encoder with its masked-language-model head.
int64_t ParameterCount(const ModelShape& shape);

}  // namespace bert::estimate

#endif  // BERT_COMMON_ESTIMATE_MODEL_SHAPE_H_
