#include "worker/trainer/sample_sentences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "dataloader/text/wordpiece.h"

namespace bert::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

enum Id { kPad, kUnk, kCls, kSep, kMask, kThe, kCat, kDog, kSat, kS, kStop };

text::WordPieceTokenizer Tokenizer() {
  auto vocabulary = text::Vocabulary::FromTokens(
      {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sat", "##s", "."});
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
  return text::WordPieceTokenizer(*std::move(vocabulary), {});
}

// Two segments in the first row, the second with two sentences; no mask in the second row; a pair in the third.
sampling::RowBatch Rows() {
  sampling::RowBatch batch;
  batch.row_count = 3;
  batch.token_ids = {kCls, kThe, kCat,  kSep, kCls, kThe,  kCat, kStop, kThe, kMask, kThe, kStop, kSep,  //
                     kCls, kThe, kSep,                                                                   //
                     kCls, kCat, kStop, kDog, kSep, kMask, kSep};
  batch.segment_counts = {2, 1, 1};
  batch.segment_lengths = {4, 9, 3, 7};
  batch.masked_counts = {2, 0, 1};
  batch.masked_positions = {9, 10, 5};
  batch.labels = {kDog, kS, kSat};
  return batch;
}

TEST(SampleSentencesTest, PicksTheSentenceAroundEachRowsFirstMask) {
  const auto tokenizer = Tokenizer();
  const auto sentences = PickSentences(Rows(), tokenizer);
  ASSERT_EQ(sentences.size(), 2u);
  EXPECT_EQ(sentences[0].row, 0);
  EXPECT_THAT(sentences[0].ids, ElementsAre(kThe, kMask, kThe, kStop));
  ASSERT_EQ(sentences[0].masks.size(), 2u);
  EXPECT_EQ(sentences[0].masks[0].index, 1);
  EXPECT_EQ(sentences[0].masks[0].position, 9);
  EXPECT_EQ(sentences[0].masks[1].label, kS);
  EXPECT_EQ(sentences[1].row, 2);
  EXPECT_THAT(sentences[1].ids, ElementsAre(kMask));
}

TEST(SampleSentencesTest, AFullStopThatIsMaskedStillEndsItsSentence) {
  sampling::RowBatch batch;
  batch.row_count = 1;
  batch.token_ids = {kCls, kThe, kCat, kMask, kThe, kDog, kSep};
  batch.segment_counts = {1};
  batch.segment_lengths = {7};
  batch.masked_counts = {1};
  batch.masked_positions = {3};
  batch.labels = {kStop};
  const auto sentences = PickSentences(batch, Tokenizer());
  ASSERT_EQ(sentences.size(), 1u);
  EXPECT_THAT(sentences[0].ids, ElementsAre(kThe, kCat, kMask));
}

TEST(SampleSentencesTest, ALongSentenceIsCutAroundTheMask) {
  sampling::RowBatch batch;
  batch.row_count = 1;
  batch.token_ids.assign(102, kThe);
  batch.token_ids.front() = kCls;
  batch.token_ids.back() = kSep;
  batch.token_ids[90] = kMask;
  batch.segment_counts = {1};
  batch.segment_lengths = {102};
  batch.masked_counts = {1};
  batch.masked_positions = {90};
  batch.labels = {kCat};
  const auto sentences = PickSentences(batch, Tokenizer(), 30);
  ASSERT_EQ(sentences.size(), 1u);
  EXPECT_EQ(sentences[0].ids.size(), 30u);
  ASSERT_EQ(sentences[0].masks.size(), 1u);
  EXPECT_EQ(sentences[0].ids[sentences[0].masks[0].index], kMask);
}

TEST(SampleSentencesTest, ShowsPredictionsInPercent) {
  const auto tokenizer = Tokenizer();
  const SampleSentence sentence = PickSentences(Rows(), tokenizer)[0];
  const std::vector<MaskPrediction> predictions = {{.best = {{kCat, 0.5}, {kDog, 0.25}, {kSat, 0.125}}, .right = 0.25},
                                                   {.best = {{kS, 0.9}, {kThe, 0.05}, {kStop, 0.01}}, .right = 0.9}};
  EXPECT_THAT(SampleLines(1, sentence, predictions, tokenizer),
              ElementsAre("sample 1: the [MASK] the.", "  mask 1: cat 50.0%, dog 25.0%, sat 12.5%; right: dog 25.0%",
                          "  mask 2 at \"the\": ##s 90.0%, the 5.0%, . 1.0%; right: ##s 90.0%"));
  const std::string markdown = SampleMarkdown(sentence, predictions, tokenizer);
  EXPECT_THAT(markdown, HasSubstr("the \\[MASK] the.\n\n| mask | predicted | second | third | right |\n"));
  EXPECT_THAT(markdown, HasSubstr("| 1 | cat 50.0% | dog 25.0% | sat 12.5% | dog 25.0% |\n"));
  EXPECT_THAT(markdown, HasSubstr("| 2 at \"the\" | \\#\\#s 90.0% |"));
}

}  // namespace
}  // namespace bert::trainer
