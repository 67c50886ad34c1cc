#include "dataloader/sampling/batch_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
#include "dataloader/corpus/synthetic_dataset.h"

namespace bert::sampling {
namespace {

using corpus::SplitKind;

constexpr int32_t kSeqLen = 64;
constexpr Masking kNoMasking = {.probability = 0};

class BatchSamplerTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/batch_sampler_test-", getpid());
    corpus::SyntheticOptions options;
    options.train = {corpus::SyntheticLengths(1, 60, 80), corpus::SyntheticLengths(2, 60, 40)};
    ASSERT_TRUE(corpus::WriteSyntheticDataset(directory_, options).ok());
    dataset_ = *corpus::Dataset::Open(directory_);
    train_ = *RowIndex::Build(dataset_, SplitKind::kTrain, kSeqLen);
    validation_ = *RowIndex::Build(dataset_, SplitKind::kValidation, kSeqLen);
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  std::unique_ptr<BatchSampler> MakeSampler(const BatchOrder& order, const Masking& masking = {}) {
    auto sampler = BatchSampler::Create(order.split == SplitKind::kTrain ? train_ : validation_, order, masking);
    EXPECT_TRUE(sampler.ok()) << sampler.status();
    return *std::move(sampler);
  }

  // Of each row, its tokens; rows of the synthetic dataset differ from one another.
  static std::vector<std::vector<int32_t>> Rows(const RowBatch& batch) {
    std::vector<std::vector<int32_t>> rows;
    size_t segment = 0;
    auto next = batch.token_ids.begin();
    for (const uint16_t segments : batch.segment_counts) {
      const auto begin = next;
      for (int i = 0; i < segments; ++i) next += batch.segment_lengths[segment++];
      rows.emplace_back(begin, next);
    }
    return rows;
  }

  std::string directory_;
  std::shared_ptr<const corpus::Dataset> dataset_;
  std::shared_ptr<const RowIndex> train_;
  std::shared_ptr<const RowIndex> validation_;
};

TEST_F(BatchSamplerTest, AnyCutOfABatchGivesTheSameBytes) {
  const BatchOrder order{.split = SplitKind::kTrain, .seed = 3, .global_batch_size = 24};
  auto whole_sampler = MakeSampler(order);
  for (const int64_t step : {int64_t{0}, int64_t{5}, int64_t{1000}}) {
    RowBatch whole;
    ASSERT_TRUE(whole_sampler->FillRows(step, 0, 24, &whole).ok());
    ASSERT_EQ(whole.row_count, 24);
    for (const int32_t world_size : {1, 2, 3, 5, 24}) {
      for (const int32_t rows_per_call : {1, 7, 24}) {
        RowBatch joined{.step = step};
        for (int32_t rank = 0; rank < world_size; ++rank) {
          auto sampler = MakeSampler(order);  // As in another process.
          const int32_t end = 24 * (rank + 1) / world_size;
          for (int32_t row = 24 * rank / world_size; row < end; row += rows_per_call) {
            RowBatch part;
            ASSERT_TRUE(sampler->FillRows(step, row, std::min(row + rows_per_call, end), &part).ok());
            joined.Append(part);
          }
        }
        ASSERT_EQ(joined, whole) << "step " << step << " world size " << world_size;
      }
    }
  }
}

TEST_F(BatchSamplerTest, EveryRowComesOnceAnEpoch) {
  const BatchOrder order{.split = SplitKind::kTrain, .seed = 8, .global_batch_size = 7};
  auto sampler = MakeSampler(order, kNoMasking);
  std::vector<Piece> pieces;
  const int64_t epochs = 3;
  std::vector<std::vector<int32_t>> sequence;
  RowBatch batch;
  for (int64_t step = 0; step * 7 < epochs * train_->rows(); ++step) {
    ASSERT_TRUE(sampler->FillRows(step, 0, 7, &batch).ok());
    for (auto& row : Rows(batch)) sequence.push_back(std::move(row));
  }
  std::vector<std::vector<int32_t>> orders[3];
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto begin = sequence.begin() + epoch * train_->rows();
    orders[epoch].assign(begin, begin + train_->rows());
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
  // The rows as stored, made without the sampler.
  std::vector<std::vector<int32_t>> expected;
  for (int64_t row = 0; row < train_->rows(); ++row) {
    EXPECT_TRUE(train_->GetPieces(row, &pieces).ok());
    std::vector<int32_t>& tokens = expected.emplace_back();
    for (const Piece& piece : pieces) {
      std::vector<int32_t> ids(static_cast<size_t>(piece.length));
      dataset_->split(SplitKind::kTrain).CopyTokens(piece.begin, piece.length, ids.data());
      tokens.push_back(dataset_->vocabulary().cls_id);
      tokens.insert(tokens.end(), ids.begin(), ids.end());
      tokens.push_back(dataset_->vocabulary().sep_id);
    }
  }
  std::sort(expected.begin(), expected.end());
  for (auto& rows : orders) {
    std::sort(rows.begin(), rows.end());
    EXPECT_EQ(rows, expected);
  }
}

TEST_F(BatchSamplerTest, EpochsMaskDifferently) {
  const int32_t rows = static_cast<int32_t>(train_->rows());
  auto sampler = MakeSampler({.split = SplitKind::kTrain, .seed = 1, .global_batch_size = rows},
                             {.mask_share = 1, .random_share = 0});
  RowBatch first;
  RowBatch second;
  ASSERT_TRUE(sampler->FillRows(0, 0, rows, &first).ok());
  ASSERT_TRUE(sampler->FillRows(1, 0, rows, &second).ok());
  std::vector<std::vector<int32_t>> a = Rows(first);
  std::vector<std::vector<int32_t>> b = Rows(second);
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<std::vector<int32_t>> common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  EXPECT_LT(common.size(), a.size() / 10);
}

TEST_F(BatchSamplerTest, ValidationIsTheStoredOrderOnce) {
  ASSERT_EQ(validation_->rows(), 3);
  const BatchOrder order{.split = SplitKind::kValidation, .seed = 1, .global_batch_size = 2};
  auto sampler = MakeSampler(order, kNoMasking);
  RowBatch batch;
  ASSERT_TRUE(sampler->FillRows(0, 0, 2, &batch).ok());
  EXPECT_EQ(batch.row_count, 2);
  std::vector<int32_t> stored(62);
  dataset_->split(SplitKind::kValidation).CopyTokens(0, 62, stored.data());
  EXPECT_TRUE(std::equal(stored.begin(), stored.end(), batch.token_ids.begin() + 1));
  ASSERT_TRUE(sampler->FillRows(1, 0, 2, &batch).ok());
  EXPECT_EQ(batch.row_count, 1);
  ASSERT_TRUE(sampler->FillRows(1, 1, 2, &batch).ok());
  EXPECT_EQ(batch.row_count, 0);
  ASSERT_TRUE(sampler->FillRows(2, 0, 2, &batch).ok());
  EXPECT_EQ(batch.row_count, 0);
  EXPECT_TRUE(batch.token_ids.empty());
}

// What a batch is must never change between versions: a job that resumes would read other rows than it would have.
TEST_F(BatchSamplerTest, TheOrderAndMasksAreThoseOfEarlierVersions) {
  auto sampler = MakeSampler({.split = SplitKind::kTrain, .seed = 2024, .global_batch_size = 16});
  RowBatch batch;
  Digester digester;
  for (int64_t step = 0; step < 20; ++step) {
    ASSERT_TRUE(sampler->FillRows(step, 0, 16, &batch).ok());
    const EncodedRows encoded = Encode(batch, dataset_->vocabulary().vocab_size);
    for (const std::string* field : {&encoded.token_ids, &encoded.segment_counts, &encoded.segment_lengths,
                                     &encoded.masked_counts, &encoded.masked_positions, &encoded.labels}) {
      digester.Update(*field);
    }
  }
  EXPECT_EQ(digester.Finish(), "xxh128:8265f56652c484dbf5b1b02ab7ac2852");
}

TEST_F(BatchSamplerTest, RangesThatDoNotExistAreRefused) {
  auto sampler = MakeSampler({.split = SplitKind::kTrain, .seed = 1, .global_batch_size = 8});
  EXPECT_TRUE(sampler->CheckRange(0, 0, 8).ok());
  EXPECT_TRUE(sampler->CheckRange(int64_t{1} << 30, 7, 8).ok());
  for (const absl::Status& status :
       {sampler->CheckRange(0, -1, 8), sampler->CheckRange(0, 0, 9), sampler->CheckRange(0, 5, 4),
        sampler->CheckRange(-1, 0, 8), sampler->CheckRange(int64_t{1} << 50, 0, 8),
        sampler->CheckRange(INT64_MAX, 0, 8)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(BatchSamplerTest, MistakesAreRefused) {
  EXPECT_EQ(BatchSampler::Create(train_, {.global_batch_size = 0}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(BatchSampler::Create(train_, {}, {.probability = 2}).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string empty_directory = directory_ + "/empty";
  corpus::SyntheticOptions options;
  options.train = {};
  ASSERT_TRUE(corpus::WriteSyntheticDataset(empty_directory, options).ok());
  auto empty = RowIndex::Build(*corpus::Dataset::Open(empty_directory), SplitKind::kTrain, kSeqLen);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(BatchSampler::Create(*empty, {}, {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace bert::sampling
