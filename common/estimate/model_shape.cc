#include "common/estimate/model_shape.h"

namespace bert::estimate {

double TrainFlops(const ModelShape& shape, const RowCounts& counts) {
  if (counts.rows <= 0) return 0;
  const auto d = static_cast<double>(shape.hidden_size);
  const auto f = static_cast<double>(shape.intermediate_size);
  const auto layers = static_cast<double>(shape.num_hidden_layers);
  const double length = counts.tokens / counts.rows;
  return 6 * counts.tokens * layers * (4 * d * d + 2 * d * f) + 12 * layers * counts.tokens * length * d +
         6 * counts.masked_tokens * (d * d + d * static_cast<double>(shape.vocab_size));
}

int64_t ParameterCount(const ModelShape& shape) {
  const int64_t d = shape.hidden_size;
  const int64_t f = shape.intermediate_size;
  const int64_t embeddings = (shape.vocab_size + shape.max_position_embeddings + shape.type_vocab_size) * d;
  // Query, key, value, output; both feed-forward products; two LayerNorms.
  const int64_t layer = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 4 * d;
  // One LayerNorm more than the layers have, before the first or after the last.
  const int64_t head = d * d + d + 2 * d + shape.vocab_size;
  return embeddings + shape.num_hidden_layers * layer + 2 * d + head;
}

}  // namespace bert::estimate
