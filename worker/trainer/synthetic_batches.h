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

// The same as a sentence pair: [CLS] A [SEP] B [SEP], where B repeats A's word or another. A pure function of `number`.
inline void AppendSyntheticPair(Split split, int64_t number, sampling::RowBatch& batch) {
  constexpr int kFirstWord = 5, kCls = 2, kSep = 3, kMask = 4;
  std::mt19937_64 random(static_cast<uint64_t>(number) * 4 + (split == Split::kTrain ? 2 : 3));
  const auto draw = [&](int count) { return static_cast<int>(random() % static_cast<uint64_t>(count)); };
  const int first = 2 + draw(4);
  const int second = 2 + draw(4);
  const int word = kFirstWord + draw(kSyntheticVocab - kFirstWord);
  const bool next = draw(2) == 0;
  const int other = next ? word : kFirstWord + draw(kSyntheticVocab - kFirstWord);
  const int length = first + second + 3;
  const int masked_count = 1 + draw(2);  // Rows differ in it, so that a mean over rows is none over masked tokens.
  for (int i = 0; i < length; ++i) {
    const bool separator = i == first + 1 || i == length - 1;
    const bool masked = i == 1 || (masked_count == 2 && i == first + 2);
    const int original = i <= first ? word : other;
    if (masked) {
      batch.labels.push_back(original);
      batch.masked_positions.push_back(static_cast<uint16_t>(i));
    }
    batch.token_ids.push_back(i == 0 ? kCls : separator ? kSep : masked ? kMask : original);
  }
  batch.segment_counts.push_back(1);
  batch.segment_lengths.push_back(static_cast<uint16_t>(length));
  batch.masked_counts.push_back(static_cast<uint16_t>(masked_count));
  batch.second_begins.push_back(static_cast<uint16_t>(first + 2));
  batch.is_next.push_back(next ? 1 : 0);
  ++batch.row_count;
}

enum class SyntheticKind { kRows, kPairs };

class SyntheticBatches : public BatchSource {
 public:
  explicit SyntheticBatches(const RowRange& range, SyntheticKind kind = SyntheticKind::kRows)
      : range_(range), kind_(kind), step_(range.first_step) {}

  absl::StatusOr<sampling::RowBatch> NextStep() override {
    if (step_ >= range_.last_step) return absl::OutOfRangeError("the last step has been read");
    sampling::RowBatch batch;
    batch.step = step_;
    batch.row_begin = range_.row_begin;
    for (int32_t row = 0; row < range_.RowsOf(step_); ++row) {
      const int64_t number = step_ * range_.global_rows + range_.row_begin + row;
      (kind_ == SyntheticKind::kPairs ? AppendSyntheticPair : AppendSyntheticRow)(range_.split, number, batch);
    }
    ++step_;
    return batch;
  }

 private:
  const RowRange range_;
  const SyntheticKind kind_;
  int64_t step_;
};

inline absl::StatusOr<std::unique_ptr<BatchSource>> OpenSyntheticBatches(const RowRange& range) {
  return std::make_unique<SyntheticBatches>(range);
}

inline absl::StatusOr<std::unique_ptr<BatchSource>> OpenSyntheticPairs(const RowRange& range) {
  return std::make_unique<SyntheticBatches>(range, SyntheticKind::kPairs);
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
