// Rows for tests, made in memory: each repeats one word, so that a masked one follows from its neighbours.
#ifndef BERT_WORKER_TRAINER_SYNTHETIC_BATCHES_H_
#define BERT_WORKER_TRAINER_SYNTHETIC_BATCHES_H_

#include <cstdint>
#include <memory>
#include <random>
#include <utility>

#include "worker/model/model_config.h"
#include "worker/trainer/batch_source.h"
#include "worker/trainer/dataset_description.h"

namespace bert::trainer {

inline constexpr int32_t kSyntheticVocab = 24;
inline constexpr int32_t kSyntheticWidth = 16;

// Row `number` of a split: a pure function, as a dataloader's.
inline void AppendSyntheticRow(Split split, int64_t number, sampling::RowBatch& batch) {
  constexpr int kFirstWord = 5, kCls = 2, kSep = 3, kMask = 4;
  std::mt19937_64 random(static_cast<uint64_t>(number) * 2 + (split == Split::kTrain ? 0 : 1));
  const int length = 8 + static_cast<int>(random() % (kSyntheticWidth - 7));
  const int word = kFirstWord + static_cast<int>(random() % (kSyntheticVocab - kFirstWord));
  const int masked = 2 + static_cast<int>(random() % (length - 4));
  for (int i = 0; i < length; ++i) {
    if (i == masked) batch.labels.push_back(word);
    batch.token_ids.push_back(i == 0 ? kCls : i == length - 1 ? kSep : i == masked ? kMask : word);
  }
  batch.segment_counts.push_back(1);
  batch.segment_lengths.push_back(static_cast<uint16_t>(length));
  batch.masked_counts.push_back(1);
  batch.masked_positions.push_back(static_cast<uint16_t>(masked));
  ++batch.row_count;
}

class SyntheticBatches : public BatchSource {
 public:
  explicit SyntheticBatches(const RowRange& range) : range_(range), step_(range.first_step) {}

  absl::StatusOr<sampling::RowBatch> NextStep() override {
    if (step_ >= range_.last_step) return absl::OutOfRangeError("the last step has been read");
    sampling::RowBatch batch;
    batch.step = step_;
    batch.row_begin = range_.row_begin;
    for (int32_t row = 0; row < range_.RowsOf(step_); ++row) {
      AppendSyntheticRow(range_.split, step_ * range_.global_rows + range_.row_begin + row, batch);
    }
    ++step_;
    return batch;
  }

 private:
  const RowRange range_;
  int64_t step_;
};

inline absl::StatusOr<std::unique_ptr<BatchSource>> OpenSyntheticBatches(const RowRange& range) {
  return std::make_unique<SyntheticBatches>(range);
}

inline model::ModelConfig SyntheticModel() {
  model::ModelConfig config;
  config.norm = model::NormPlacement::kPreLn;
  config.vocab_size = kSyntheticVocab;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 64;
  config.max_position_embeddings = kSyntheticWidth;
  config.hidden_dropout = 0.1;
  config.attention_dropout = 0.1;
  return config;
}

inline DatasetDescription SyntheticDataset() {
  return {.digest = "xxh128:00000000000000000000000000000000",
          .vocab_size = kSyntheticVocab,
          .train_rows = 1000,
          .train_tokens = 12000,
          .validation_rows = 50,
          .unigram_cross_entropy = 3.0,
          .tokenizer_files = {{"vocab.txt", "[PAD]\n"}}};
}

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_SYNTHETIC_BATCHES_H_
