// Which tensors a model has, what Hugging Face calls them, and in which order they lie in the flat buffers.
#ifndef BERT_WORKER_MODEL_LAYOUT_H_
#define BERT_WORKER_MODEL_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "worker/model/model_config.h"
#include "worker/model/parameters.h"

namespace bert::model {

// Index of a weight; its bias follows it.
struct AffineIndex {
  int64_t weight = -1;
  int64_t bias = -1;
};

struct LayerIndex {
  // First of three weights (query, key, value), adjacent so that one matrix multiplication reads them as [3H, H]; the
  // same for their biases.
  AffineIndex query_key_value;
  AffineIndex attention_output;
  AffineIndex intermediate;
  AffineIndex output;
  // The LayerNorm applied to the residual sum after the attention, and the one after the feed-forward part. Post-LN:
  // the layer's own two. Pre-LN: `layer.i.ln`, and the next layer's `attention.ln` (after the last layer `encoder.ln`).
  AffineIndex norm_after_attention;
  AffineIndex norm_after_output;
};

struct Layout {
  std::vector<ParameterInfo> infos;

  int64_t word_embeddings = -1;
  int64_t position_embeddings = -1;
  int64_t token_type_embeddings = -1;
  // The LayerNorm between the embeddings and the first matrix: post-LN: of the embeddings; pre-LN: layer 0's
  // `attention.ln`.
  AffineIndex first_norm;
  std::vector<LayerIndex> layers;
  AffineIndex transform;
  AffineIndex transform_norm;
  int64_t decoder_bias = -1;  // The decoder's weight is word_embeddings.
  // Only with config.next_sentence.
  AffineIndex pooler;
  AffineIndex next_sentence;
};

Layout MakeLayout(const ModelConfig& config);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_LAYOUT_H_
