// The encoder's shape: everything that decides which tensors exist and what they compute.
#ifndef BERT_WORKER_MODEL_MODEL_CONFIG_H_
#define BERT_WORKER_MODEL_MODEL_CONFIG_H_

#include <cstdint>

#include "absl/status/status.h"

namespace bert::model {

enum class NormPlacement {
  kPostLn,  // Devlin et al. 2018; Hugging Face `bert`.
  kPreLn,   // Xiong et al. 2020; Hugging Face `megatron-bert`: no LayerNorm on embeddings, one more after the last
            // block.
};
enum class Activation { kGelu, kGeluTanh };
enum class Precision { kFp32, kBf16 };

struct ModelConfig {
  NormPlacement norm = NormPlacement::kPostLn;
  Activation activation = Activation::kGelu;
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
  double hidden_dropout = 0.1;
  double attention_dropout = 0.1;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  int64_t pad_token_id = 0;
  // The embeddings and the decoder have a multiple of this many rows, for products of sizes that suit the device. What
  // is added stands for no token: it has no probability and no gradient, and is in no model file.
  int64_t vocab_multiple = 1;
  // A pooler and the next-sentence head beside the masked-language-model head: Hugging Face's BertForPreTraining and
  // MegatronBertForPreTraining.
  bool next_sentence = false;

  int64_t padded_vocab_size() const { return (vocab_size + vocab_multiple - 1) / vocab_multiple * vocab_multiple; }
};

// INVALID_ARGUMENT names the field and its bound.
absl::Status Validate(const ModelConfig& config);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_MODEL_CONFIG_H_
