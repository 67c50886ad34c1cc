#include "worker/model/test_batches.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <random>

#include "common/check.h"

namespace bert::model {

ModelConfig TinyConfig(NormPlacement norm) {
  ModelConfig config;
  config.norm = norm;
  config.vocab_size = 37;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 24;
  config.max_position_embeddings = 24;
  config.hidden_dropout = 0;
  config.attention_dropout = 0;
  return config;
}

std::unique_ptr<MaskedLm> TinyModel(const ModelConfig& config, Precision precision, uint64_t seed) {
  auto model = MaskedLm::Create(config, precision, at::kCPU);
  BERT_CHECK(model.ok()) << model.status();
  Parameters& parameters = (*model)->parameters();
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (size_t i = 0; i < parameters.infos().size(); ++i) {
    const ParameterInfo& info = parameters.infos()[i];
    at::Tensor values = at::empty(info.shape, at::kFloat);
    values.normal_(info.shape.size() == 1 && info.name.ends_with("weight") ? 1.0 : 0.0, 0.3, generator);
    parameters.MasterView(static_cast<int64_t>(i)).copy_(values);
  }
  parameters.RefreshCompute();
  return *std::move(model);
}

MaskedBatch DrawBatch(const std::vector<std::vector<int64_t>>& layout, int64_t seq, const ModelConfig& config,
                      uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto draw = [&] { return static_cast<int64_t>(random() % static_cast<uint64_t>(config.vocab_size)); };
  const std::vector<int64_t> shape = {static_cast<int64_t>(layout.size()), seq};
  MaskedBatch batch;
  batch.input_ids = at::full(shape, config.pad_token_id, at::kLong);
  batch.position_ids = at::full(shape, 0, at::kLong);
  batch.segments = at::full(shape, -1, at::kInt);
  std::vector<int64_t> masked;
  for (size_t row = 0; row < layout.size(); ++row) {
    int64_t token = static_cast<int64_t>(row) * seq;
    for (size_t segment = 0; segment < layout[row].size(); ++segment) {
      for (int64_t i = 0; i < layout[row][segment]; ++i, ++token) {
        batch.input_ids.data_ptr<int64_t>()[token] = draw();
        batch.position_ids.data_ptr<int64_t>()[token] = i;
        batch.segments.data_ptr<int32_t>()[token] = static_cast<int32_t>(segment);
        if (i % 5 == 0) masked.push_back(token);
      }
    }
    BERT_CHECK(token <= static_cast<int64_t>(row + 1) * seq) << "segments longer than the row";
  }
  batch.masked_positions = at::empty({static_cast<int64_t>(masked.size())}, at::kLong);
  batch.labels = at::empty({static_cast<int64_t>(masked.size())}, at::kLong);
  for (size_t i = 0; i < masked.size(); ++i) {
    batch.masked_positions.data_ptr<int64_t>()[i] = masked[i];
    batch.labels.data_ptr<int64_t>()[i] = draw();
  }
  return batch;
}

MaskedBatch DrawPairs(const std::vector<std::pair<int64_t, int64_t>>& parts, int64_t seq, const ModelConfig& config,
                      uint64_t seed) {
  std::vector<std::vector<int64_t>> layout;
  for (const auto& [first, second] : parts) layout.push_back({first + second});
  MaskedBatch batch = DrawBatch(layout, seq, config, seed);
  const auto rows = static_cast<int64_t>(parts.size());
  batch.token_type_ids = at::full({rows, seq}, 0, at::kLong);
  batch.next_sentence_labels = at::full({rows}, 0, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const auto& [first, second] = parts[static_cast<size_t>(row)];
    batch.token_type_ids[row].narrow(0, first, second).fill_(1);
    batch.next_sentence_labels[row] = row % 2;
  }
  return batch;
}

}  // namespace bert::model
