#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/sampling/batch_sampler.h"
#include "dataloader/sampling/pair_exchange.h"

namespace bert::sampling {
namespace {

using corpus::SplitKind;
using testing::ElementsAre;

constexpr int32_t kCls = 2;
constexpr int32_t kSep = 3;

class SentencePairTest : public testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  std::shared_ptr<const RowIndex> MakeRows(const std::vector<std::vector<int64_t>>& lengths, int32_t max_seq_len,
                                           int continuation_percent = 25) {
    EXPECT_TRUE(RemoveTree(directory_).ok());
    corpus::SyntheticOptions options;
    options.train = lengths;
    options.continuation_percent = continuation_percent;
    EXPECT_TRUE(corpus::WriteSyntheticDataset(directory_, options).ok());
    auto rows =
        RowIndex::Build(*corpus::Dataset::Open(directory_), SplitKind::kTrain, max_seq_len, RowFormat::kSentencePair);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return *rows;
  }

  const std::string directory_ = absl::StrCat(testing::TempDir(), "/sentence_pair_test-", getpid());
};

std::vector<std::vector<Piece>> AllPieces(const RowIndex& rows) {
  std::vector<std::vector<Piece>> all(static_cast<size_t>(rows.rows()));
  for (int64_t row = 0; row < rows.rows(); ++row) {
    EXPECT_TRUE(rows.GetPieces(row, &all[static_cast<size_t>(row)]).ok());
  }
  return all;
}

// Without continuations every cut is in the middle.
TEST_F(SentencePairTest, FollowsItsRule) {
  // 20 slots: chunks of 17 tokens, the last of a document at least 8.
  const auto rows = MakeRows({{17, 1, 36}, {20, 5}}, 20, 0);
  EXPECT_THAT(AllPieces(*rows),
              ElementsAre(ElementsAre(Piece{0, 9}, Piece{9, 8}),      // a document that fills a row
                          ElementsAre(Piece{18, 9}, Piece{27, 8}),    // of 36
                          ElementsAre(Piece{54, 6}, Piece{60, 6}),    // of 20: 12, for 8 to remain
                          ElementsAre(Piece{35, 6}, Piece{41, 5}),    // of 36: 11, for 8 to remain
                          ElementsAre(Piece{46, 4}, Piece{50, 4}),    // its rest
                          ElementsAre(Piece{66, 4}, Piece{70, 4}),    // the rest of 20
                          ElementsAre(Piece{74, 3}, Piece{77, 2})));  // the document of 1 token is in no pair
  EXPECT_EQ(rows->groups(), 5);
  EXPECT_EQ(rows->GroupOf(0), 0);
  EXPECT_EQ(rows->GroupOf(5), 3);
  EXPECT_EQ(rows->Group(3).first_row, 4);
  EXPECT_EQ(rows->Group(3).rows, 2);
  EXPECT_EQ(rows->DocumentOf(4), 2);
}

TEST_F(SentencePairTest, LosesNothingButDocumentsOfOneToken) {
  const std::vector<std::vector<int64_t>> lengths = {corpus::SyntheticLengths(3, 150, 60),
                                                     corpus::SyntheticLengths(4, 300, 6)};
  for (const int32_t max_seq_len : {8, 9, 13, 20, 64, 128, 512}) {
    SCOPED_TRACE(max_seq_len);
    const auto rows = MakeRows(lengths, max_seq_len);
    const corpus::SplitView& split = rows->split();
    const std::vector<uint8_t>& is_continuation = rows->dataset().vocabulary().is_continuation;
    std::vector<int> seen(static_cast<size_t>(split.tokens()));
    int64_t previous = INT64_MAX;
    for (int64_t row = 0; row < rows->rows(); ++row) {
      std::vector<Piece> pieces;
      EXPECT_TRUE(rows->GetPieces(row, &pieces).ok());
      ASSERT_EQ(pieces.size(), 2u);
      ASSERT_EQ(pieces[1].begin, pieces[0].begin + pieces[0].length);
      const int64_t document = rows->DocumentOf(row);
      const int64_t length = pieces[0].length + pieces[1].length;
      ASSERT_GE(pieces[0].begin, split.DocumentBegin(document));
      ASSERT_LE(pieces[0].begin + length, split.DocumentBegin(document + 1));
      ASSERT_GT(pieces[0].length, 0);
      ASSERT_GT(pieces[1].length, 0);
      ASSERT_LE(length + 3, max_seq_len);
      ASSERT_LE(length, previous);
      previous = length;
      // Cut within a word only where there is no other place.
      int32_t id = 0;
      split.CopyTokens(pieces[1].begin, 1, &id);
      if (is_continuation[static_cast<size_t>(id)] != 0) {
        ASSERT_EQ(pieces[0].length, (length + 1) / 2);
      }
      for (int64_t token = pieces[0].begin; token < pieces[0].begin + length; ++token) {
        ++seen[static_cast<size_t>(token)];
      }
    }
    for (int64_t document = 0; document < split.documents(); ++document) {
      const int64_t begin = split.DocumentBegin(document);
      const int64_t end = split.DocumentBegin(document + 1);
      for (int64_t token = begin; token < end; ++token) {
        ASSERT_EQ(seen[static_cast<size_t>(token)], end - begin >= 2 ? 1 : 0) << "token " << token;
      }
    }
  }
}

TEST_F(SentencePairTest, ExchangesAreMutualBetweenEqualLengthsAndOtherDocuments) {
  const auto rows = MakeRows({corpus::SyntheticLengths(5, 400, 200)}, 64);
  int64_t exchanged_in_both = 0;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    for (int64_t row = 0; row < rows->rows(); ++row) {
      const int64_t giver = SecondPartOf(*rows, 9, epoch, row);
      ASSERT_EQ(SecondPartOf(*rows, 9, epoch, giver), row);
      if (giver == row) continue;
      ASSERT_EQ(rows->GroupOf(giver), rows->GroupOf(row));
      ASSERT_NE(rows->DocumentOf(giver), rows->DocumentOf(row));
      exchanged_in_both += giver == SecondPartOf(*rows, 9, epoch + 1, row) ? 1 : 0;
    }
  }
  EXPECT_LT(exchanged_in_both, rows->rows() / 20);
}

// Among full rows, of which there are many, half are true pairs; over epochs each row is a true one half of the time.
TEST_F(SentencePairTest, HalfOfThePairsAreTrue) {
  const auto rows = MakeRows({corpus::SyntheticLengths(6, 800, 200)}, 64, 0);
  const PairGroup full = rows->Group(0);
  ASSERT_EQ(full.first_length + full.second_length, 61);
  ASSERT_GT(full.rows, 1500);
  constexpr int kEpochs = 40;
  int64_t next = 0;
  std::map<int, int> rows_by_next;
  for (int64_t row = 0; row < full.rows; ++row) {
    int row_next = 0;
    for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) row_next += SecondPartOf(*rows, 1, epoch, row) == row ? 1 : 0;
    next += row_next;
    ++rows_by_next[row_next];
  }
  const double share = static_cast<double>(next) / static_cast<double>(full.rows * kEpochs);
  // Twos of one document among 800 add under 0.002; five standard deviations of the coins, one for two rows, are 0.014.
  EXPECT_NEAR(share, 0.5, 0.016);
  // Binomial of 40 coins: five standard deviations around 20 are 4 to 36.
  EXPECT_GE(rows_by_next.begin()->first, 4);
  EXPECT_LE(rows_by_next.rbegin()->first, 36);
}

TEST_F(SentencePairTest, BatchesHaveTheOriginalForm) {
  const auto rows = MakeRows({corpus::SyntheticLengths(7, 60, 150)}, 64);
  const auto row_count = static_cast<int32_t>(rows->rows());
  auto sampler =
      *BatchSampler::Create(rows, {.split = SplitKind::kTrain, .seed = 3, .global_batch_size = row_count}, {});
  auto unmasked = *BatchSampler::Create(rows, {.split = SplitKind::kTrain, .seed = 3, .global_batch_size = row_count},
                                        {.probability = 0});
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    RowBatch batch;
    RowBatch original;
    ASSERT_TRUE(sampler->FillRows(epoch, 0, row_count, &batch).ok());
    ASSERT_TRUE(unmasked->FillRows(epoch, 0, row_count, &original).ok());
    ASSERT_EQ(batch.second_begins.size(), static_cast<size_t>(row_count));
    EXPECT_EQ(batch.second_begins, original.second_begins);
    EXPECT_EQ(batch.is_next, original.is_next);
    ASSERT_TRUE(
        Decode(ViewOf(Encode(batch, 1000)), {.vocab_size = 1000, .max_seq_len = 64, .sentence_pairs = true}).ok());
    // Of each epoch, every token of the split once.
    std::map<int32_t, int64_t> counts;
    size_t begin = 0;
    size_t masked = 0;
    for (int32_t row = 0; row < row_count; ++row) {
      const size_t length = batch.segment_lengths[static_cast<size_t>(row)];
      const size_t second = batch.second_begins[static_cast<size_t>(row)];
      for (size_t i = 0; i < length; ++i) {
        const int32_t id = original.token_ids[begin + i];
        if (i == 0) {
          ASSERT_EQ(id, kCls);
        } else if (i == second - 1 || i == length - 1) {
          ASSERT_EQ(id, kSep);
        } else {
          ASSERT_GE(id, 5);
          ++counts[id];
        }
      }
      for (int i = 0; i < batch.masked_counts[static_cast<size_t>(row)]; ++i, ++masked) {
        const size_t position = batch.masked_positions[masked];
        ASSERT_EQ(batch.labels[masked], original.token_ids[begin + position]);
        ASSERT_GE(batch.labels[masked], 5) << "a special token is masked";
      }
      begin += length;
    }
    for (int64_t document = 0; document < rows->split().documents(); ++document) {
      const int64_t from = rows->split().DocumentBegin(document);
      std::vector<int32_t> ids(static_cast<size_t>(rows->split().DocumentBegin(document + 1) - from));
      rows->split().CopyTokens(from, static_cast<int64_t>(ids.size()), ids.data());
      if (ids.size() < 2) continue;
      for (const int32_t id : ids) --counts[id];
    }
    for (const auto& [id, count] : counts) ASSERT_EQ(count, 0) << "token " << id;
  }
}

TEST_F(SentencePairTest, ShortRowsAreRefused) {
  const auto rows = MakeRows({{10}}, 8);
  std::shared_ptr<const corpus::Dataset> dataset = *corpus::Dataset::Open(directory_);
  const auto refused = RowIndex::Build(dataset, SplitKind::kTrain, 7, RowFormat::kSentencePair);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("[8, 65535]"));
}

}  // namespace
}  // namespace bert::sampling
