#include "worker/model/layout.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bert::model {
namespace {

class LayoutBuilder {
 public:
  explicit LayoutBuilder(const ModelConfig& config) : config_(config) {}

  Layout Build() {
    const int64_t hidden = config_.hidden_size;
    layout_.word_embeddings =
        Add("bert.embeddings.word_embeddings.weight", {config_.padded_vocab_size(), hidden}, true, VocabPadding());
    layout_.position_embeddings =
        Add("bert.embeddings.position_embeddings.weight", {config_.max_position_embeddings, hidden}, true);
    layout_.token_type_embeddings =
        Add("bert.embeddings.token_type_embeddings.weight", {config_.type_vocab_size, hidden}, true);
    if (!PreLn()) layout_.first_norm = AddNorm("bert.embeddings.LayerNorm");
    for (int64_t i = 0; i < config_.num_hidden_layers; ++i) AddLayer(i);
    if (PreLn()) layout_.layers.back().norm_after_output = AddNorm("bert.encoder.ln");
    layout_.transform = AddLinear("cls.predictions.transform.dense", hidden, hidden);
    layout_.transform_norm = AddNorm("cls.predictions.transform.LayerNorm");
    layout_.decoder_bias = Add("cls.predictions.bias", {config_.padded_vocab_size()}, false, VocabPadding());
    if (config_.next_sentence) {
      layout_.pooler = AddLinear("bert.pooler.dense", hidden, hidden);
      layout_.next_sentence = AddLinear("cls.seq_relationship", 2, hidden);
    }
    return std::move(layout_);
  }

 private:
  bool PreLn() const { return config_.norm == NormPlacement::kPreLn; }

  int64_t VocabPadding() const { return config_.padded_vocab_size() - config_.vocab_size; }

  int64_t Add(std::string name, std::vector<int64_t> shape, bool decay, int64_t padding_rows = 0) {
    int64_t size = 1;
    for (const int64_t dimension : shape) size *= dimension;
    layout_.infos.push_back({std::move(name), std::move(shape), offset_, size, decay, padding_rows});
    offset_ += size;
    return static_cast<int64_t>(layout_.infos.size()) - 1;
  }

  AffineIndex AddLinear(const std::string& name, int64_t outputs, int64_t inputs) {
    const int64_t weight = Add(name + ".weight", {outputs, inputs}, true);
    return {weight, Add(name + ".bias", {outputs}, false)};
  }

  AffineIndex AddNorm(const std::string& name) {
    const int64_t weight = Add(name + ".weight", {config_.hidden_size}, false);
    return {weight, Add(name + ".bias", {config_.hidden_size}, false)};
  }

  AffineIndex AddQueryKeyValue(const std::string& prefix) {
    const int64_t hidden = config_.hidden_size;
    AffineIndex index;
    for (const char* part : {"query", "key", "value"}) {
      const int64_t weight = Add(absl::StrCat(prefix, part, ".weight"), {hidden, hidden}, true);
      if (index.weight < 0) index.weight = weight;
    }
    for (const char* part : {"query", "key", "value"}) {
      const int64_t bias = Add(absl::StrCat(prefix, part, ".bias"), {hidden}, false);
      if (index.bias < 0) index.bias = bias;
    }
    return index;
  }

  void AddLayer(int64_t i) {
    const std::string prefix = absl::StrCat("bert.encoder.layer.", i, ".");
    LayerIndex layer;
    if (PreLn()) {
      // What normalises the output of the layer before is named by this layer.
      (i == 0 ? layout_.first_norm : layout_.layers.back().norm_after_output) = AddNorm(prefix + "attention.ln");
    }
    layer.query_key_value = AddQueryKeyValue(prefix + "attention.self.");
    layer.attention_output = AddLinear(prefix + "attention.output.dense", config_.hidden_size, config_.hidden_size);
    layer.norm_after_attention = AddNorm(prefix + (PreLn() ? "ln" : "attention.output.LayerNorm"));
    layer.intermediate = AddLinear(prefix + "intermediate.dense", config_.intermediate_size, config_.hidden_size);
    layer.output = AddLinear(prefix + "output.dense", config_.hidden_size, config_.intermediate_size);
    if (!PreLn()) layer.norm_after_output = AddNorm(prefix + "output.LayerNorm");
    layout_.layers.push_back(layer);
  }

  const ModelConfig& config_;
  Layout layout_;
  int64_t offset_ = 0;
};

}  // namespace

Layout MakeLayout(const ModelConfig& config) { return LayoutBuilder(config).Build(); }

}  // namespace bert::model
