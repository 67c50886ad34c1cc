#include "worker/trainer/prediction_samples.h"

#include <ATen/ops/softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "dataloader/text/tokenizer_files.h"
#include "dataloader/text/wordpiece.h"
#include "worker/trainer/batch_tensors.h"
#include "worker/trainer/synthetic_batches.h"

namespace bert::trainer {
namespace {

using ::testing::HasSubstr;

DatasetDescription DatasetWithTokenizer() {
  std::vector<std::string> tokens(text::kSpecialTokens.begin(), text::kSpecialTokens.end());
  while (static_cast<int32_t>(tokens.size()) < kSyntheticVocab) tokens.push_back(absl::StrCat("word", tokens.size()));
  auto vocabulary = text::Vocabulary::FromTokens(std::move(tokens));
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
  DatasetDescription dataset = SyntheticDataset();
  dataset.tokenizer_files.clear();
  for (auto& [name, content] : text::TokenizerFiles(text::WordPieceTokenizer(*std::move(vocabulary), {}))) {
    dataset.tokenizer_files.push_back({name, content});
  }
  return dataset;
}

std::unique_ptr<model::MaskedLm> Model() {
  auto model = model::MaskedLm::Create(SyntheticModel(), model::Precision::kFp32, at::kCPU);
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->InitializeWeights(3);
  return *std::move(model);
}

TEST(PredictionSamplesTest, ShowsTheSameSentencesEachTime) {
  const auto model = Model();
  PredictionSamples samples(DatasetWithTokenizer(), 4, kSyntheticWidth);
  const auto first = samples.Show(*model, OpenSyntheticBatches);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(*first, HasSubstr("\\[MASK]"));
  EXPECT_THAT(*first, HasSubstr("| mask | predicted | second | third | right |"));
  EXPECT_THAT(*first, HasSubstr("word"));
  // Not asked again.
  const auto none = [](const RowRange&) -> absl::StatusOr<std::unique_ptr<BatchSource>> {
    return absl::UnavailableError("no loader");
  };
  EXPECT_EQ(*samples.Show(*model, none), *first);
}

TEST(PredictionSamplesTest, PredictionsAreTheSoftmaxOfTheLogits) {
  const auto model = Model();
  sampling::RowBatch rows;
  for (int64_t row = 0; row < 3; ++row) AppendSyntheticRow(Split::kValidation, row, rows);
  std::vector<SampleSentence> sentences;
  for (int32_t row = 0; row < 3; ++row) {
    sentences.push_back({.row = row, .ids = {}, .masks = {{0, rows.masked_positions[row], rows.labels[row]}}});
  }
  const auto predictions = PredictMasks(*model, rows, sentences, kSyntheticWidth);
  ASSERT_EQ(predictions.size(), 3u);
  const at::Tensor expected =
      at::softmax(model->Logits(RowReader(rows).Tensors(0, 3, kSyntheticWidth, model->config().pad_token_id)), 1);
  const auto [values, ids] = expected.topk(3, 1);
  for (int64_t row = 0; row < 3; ++row) {
    ASSERT_EQ(predictions[row].size(), 1u);
    const MaskPrediction& prediction = predictions[row][0];
    ASSERT_EQ(prediction.best.size(), 3u);
    for (int64_t k = 0; k < 3; ++k) {
      EXPECT_EQ(prediction.best[k].id, ids[row][k].item<int64_t>());
      EXPECT_NEAR(prediction.best[k].probability, values[row][k].item<float>(), 1e-5);
    }
    EXPECT_NEAR(prediction.right, expected[row][rows.labels[row]].item<float>(), 1e-5);
  }
}

TEST(PredictionSamplesTest, WithoutATokenizerNothingIsShown) {
  const auto model = Model();
  PredictionSamples samples(SyntheticDataset(), 4, kSyntheticWidth);
  EXPECT_EQ(*samples.Show(*model, OpenSyntheticBatches), "");
  PredictionSamples off(DatasetWithTokenizer(), 0, kSyntheticWidth);
  EXPECT_EQ(*off.Show(*model, OpenSyntheticBatches), "");
}

}  // namespace
}  // namespace bert::trainer
