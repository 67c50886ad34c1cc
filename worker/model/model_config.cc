#include "worker/model/model_config.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace bert::model {
namespace {

// Bounds far above any model that exists: they keep products of dimensions inside 63 bits.
constexpr int64_t kDimensionMax = int64_t{1} << 24;
constexpr int64_t kLayersMax = 10'000;

absl::Status CheckRange(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it takes ", min, " to ", max));
}

absl::Status CheckProbability(const char* field, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it takes at least 0 and less than 1"));
}

}  // namespace

absl::Status Validate(const ModelConfig& config) {
  for (const absl::Status& status : {
           CheckRange("vocab_size", config.vocab_size, 1, kDimensionMax),
           CheckRange("vocab_multiple", config.vocab_multiple, 1, kDimensionMax),
           CheckRange("hidden_size", config.hidden_size, 1, kDimensionMax),
           CheckRange("num_hidden_layers", config.num_hidden_layers, 1, kLayersMax),
           CheckRange("num_attention_heads", config.num_attention_heads, 1, kDimensionMax),
           CheckRange("intermediate_size", config.intermediate_size, 1, kDimensionMax),
           CheckRange("max_position_embeddings", config.max_position_embeddings, 1, kDimensionMax),
           CheckRange("type_vocab_size", config.type_vocab_size, 1, kDimensionMax),
           CheckRange("pad_token_id", config.pad_token_id, 0, config.vocab_size - 1),
           CheckProbability("hidden_dropout", config.hidden_dropout),
           CheckProbability("attention_dropout", config.attention_dropout),
       }) {
    if (!status.ok()) return status;
  }
  if (config.next_sentence && config.type_vocab_size < 2) {
    return absl::InvalidArgumentError(absl::StrCat("type_vocab_size is ", config.type_vocab_size,
                                                   "; with next-sentence prediction it takes at least 2"));
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "hidden_size ", config.hidden_size, " is not a multiple of num_attention_heads ", config.num_attention_heads));
  }
  if (!(config.layer_norm_eps > 0) || !std::isfinite(config.layer_norm_eps)) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer_norm_eps is ", config.layer_norm_eps, "; it takes a number above 0"));
  }
  if (!(config.initializer_range >= 0) || !std::isfinite(config.initializer_range)) {
    return absl::InvalidArgumentError(
        absl::StrCat("initializer_range is ", config.initializer_range, "; it takes a number of at least 0"));
  }
  return absl::OkStatus();
}

}  // namespace bert::model
