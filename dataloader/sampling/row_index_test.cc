#include "dataloader/sampling/row_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "dataloader/corpus/synthetic_dataset.h"

namespace bert::sampling {
namespace {

using corpus::SplitKind;
using testing::ElementsAre;

class RowIndexTest : public testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  std::shared_ptr<const corpus::Dataset> MakeDataset(const std::vector<std::vector<int64_t>>& lengths) {
    EXPECT_TRUE(RemoveTree(directory_).ok());
    corpus::SyntheticOptions options;
    options.train = lengths;
    const auto manifest = corpus::WriteSyntheticDataset(directory_, options);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    auto dataset = corpus::Dataset::Open(directory_);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return *dataset;
  }

  std::vector<std::vector<Piece>> AllRows(const RowIndex& index) {
    std::vector<std::vector<Piece>> rows(static_cast<size_t>(index.rows()));
    for (int64_t row = 0; row < index.rows(); ++row) {
      EXPECT_TRUE(index.GetPieces(row, &rows[static_cast<size_t>(row)]).ok());
    }
    return rows;
  }

  // Every token once, in order; pieces within documents; no scraps; rows full but for 2 * 4 slots.
  void CheckInvariants(const RowIndex& index) {
    const auto rows = AllRows(index);
    const corpus::SplitView& split = index.split();
    const int64_t piece_min = std::min<int64_t>(4, std::max<int64_t>(1, (index.max_seq_len() - 1) / 2));
    int64_t next = 0;
    int64_t document = 0;
    for (size_t row = 0; row < rows.size(); ++row) {
      int64_t used = 0;
      ASSERT_FALSE(rows[row].empty());
      for (const Piece& piece : rows[row]) {
        ASSERT_EQ(piece.begin, next) << "row " << row;
        ASSERT_GT(piece.length, 0);
        while (split.DocumentBegin(document + 1) <= piece.begin) ++document;
        ASSERT_LE(piece.begin + piece.length, split.DocumentBegin(document + 1));
        const int64_t document_length = split.DocumentBegin(document + 1) - split.DocumentBegin(document);
        ASSERT_GE(piece.length, std::min(document_length, piece_min)) << "row " << row;
        next += piece.length;
        used += piece.length + 2;
      }
      ASSERT_LE(used, index.max_seq_len());
      if (row + 1 < rows.size()) {
        ASSERT_GE(used, index.max_seq_len() - 2 * piece_min) << "row " << row;
      }
    }
    ASSERT_EQ(next, split.tokens());
  }

  const std::string directory_ = absl::StrCat(testing::TempDir(), "/row_index_test-", getpid());
};

TEST_F(RowIndexTest, FollowsItsRule) {
  // 16 slots: 14 tokens of one document.
  const auto dataset = MakeDataset({{14, 10, 30}, {16, 5, 6, 1, 1}});
  const auto index = RowIndex::Build(dataset, SplitKind::kTrain, 16);
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_THAT(AllRows(**index),
              ElementsAre(ElementsAre(Piece{0, 14}),                // fits exactly
                          ElementsAre(Piece{14, 10}),               // leaves no room for 4 tokens of the next
                          ElementsAre(Piece{24, 14}),               // cut to fill the row
                          ElementsAre(Piece{38, 12}),               // cut so that 4 remain
                          ElementsAre(Piece{50, 4}, Piece{54, 8}),  // filled from the next shard
                          ElementsAre(Piece{62, 8}),                // 4 of the next 5 would leave one
                          ElementsAre(Piece{70, 5}, Piece{75, 6}),
                          ElementsAre(Piece{81, 1}, Piece{82, 1})));  // documents shorter than 4 stay what they are
}

TEST_F(RowIndexTest, LosesNothingAtAnyLength) {
  const auto dataset = MakeDataset({corpus::SyntheticLengths(3, 150, 60), {}, corpus::SyntheticLengths(4, 150, 12)});
  std::vector<int32_t> lengths = {127, 128, 512, 2048, 65535};
  for (int32_t length = kSeqLenMin; length < 40; ++length) lengths.push_back(length);
  for (const int32_t length : lengths) {
    SCOPED_TRACE(length);
    const auto index = RowIndex::Build(dataset, SplitKind::kTrain, length);
    ASSERT_TRUE(index.ok()) << index.status();
    CheckInvariants(**index);
  }
}

// Documents as long as paragraphs and chapters of prose are.
TEST_F(RowIndexTest, LittleIsPadded) {
  const auto dataset = MakeDataset({corpus::SyntheticLengths(5, 2000, 100)});
  for (const int32_t length : {64, 128, 512}) {
    const auto index = RowIndex::Build(dataset, SplitKind::kTrain, length);
    ASSERT_TRUE(index.ok());
    int64_t used = 0;
    for (const auto& row : AllRows(**index)) {
      for (const Piece& piece : row) used += piece.length + 2;
    }
    EXPECT_GT(static_cast<double>(used) / static_cast<double>((*index)->rows() * length), 0.99) << length;
  }
}

TEST_F(RowIndexTest, ASplitMayBeEmpty) {
  const auto index = RowIndex::Build(MakeDataset({}), SplitKind::kTrain, 128);
  ASSERT_TRUE(index.ok());
  EXPECT_EQ((*index)->rows(), 0);
}

TEST_F(RowIndexTest, TruncatedRowsAreTheBeginsOfDocuments) {
  const auto dataset = MakeDataset({{14, 10, 30}, {}, {15, 1}});
  const auto index = RowIndex::Build(dataset, SplitKind::kTrain, 16, RowFormat::kTruncatePad);
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_THAT(AllRows(**index),
              ElementsAre(ElementsAre(Piece{0, 14}), ElementsAre(Piece{14, 10}), ElementsAre(Piece{24, 14}),  // of 30
                          ElementsAre(Piece{54, 14}),                                                         // of 15
                          ElementsAre(Piece{69, 1})));
  EXPECT_EQ((*index)->DocumentOf(3), 3);
  EXPECT_TRUE((*index)->image().empty());
}

TEST_F(RowIndexTest, AWrittenIndexIsTheSame) {
  const auto dataset = MakeDataset({corpus::SyntheticLengths(3, 150, 60), corpus::SyntheticLengths(4, 151, 12)});
  const std::string path = directory_ + "-index";
  for (const RowFormat format : {RowFormat::kPacked, RowFormat::kSentencePair}) {
    for (const int32_t length : {16, 128}) {
      const auto built = *RowIndex::Build(dataset, SplitKind::kTrain, length, format);
      ASSERT_TRUE(WriteFileDurably(path, built->image()).ok());
      const auto loaded = RowIndex::Load(dataset, SplitKind::kTrain, length, format, path);
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_EQ((*loaded)->rows(), built->rows());
      EXPECT_EQ(AllRows(**loaded), AllRows(*built));
      EXPECT_EQ((*loaded)->image(), built->image());
      for (int64_t row = 0; row < built->rows(); ++row) ASSERT_EQ((*loaded)->DocumentOf(row), built->DocumentOf(row));
    }
  }
  ASSERT_TRUE(RemoveTree(path).ok());
}

// 4 billion words are about 5.3 billion tokens, 42 million rows of 128: half of a gigabyte.
TEST_F(RowIndexTest, ARowTakesTwelveBytes) {
  const auto dataset = MakeDataset({corpus::SyntheticLengths(3, 1000, 600)});
  const auto packed = *RowIndex::Build(dataset, SplitKind::kTrain, 128);
  EXPECT_LE(packed->image().size(), static_cast<size_t>(packed->rows()) * 12 + 128);
  const auto pairs = *RowIndex::Build(dataset, SplitKind::kTrain, 128, RowFormat::kSentencePair);
  EXPECT_LE(pairs->image().size(), static_cast<size_t>(pairs->rows()) * 12 + 128 + 16 * 128 * 8);
}

TEST_F(RowIndexTest, DamageAndOtherIndexesAreRefused) {
  const auto dataset = MakeDataset({corpus::SyntheticLengths(3, 50, 60)});
  const auto built = *RowIndex::Build(dataset, SplitKind::kTrain, 64, RowFormat::kSentencePair);
  const std::string path = directory_ + "-index";
  const auto load = [&](const std::string& content, SplitKind split = SplitKind::kTrain, int32_t length = 64,
                        RowFormat format = RowFormat::kSentencePair) {
    EXPECT_TRUE(WriteFile(path, content).ok());
    return RowIndex::Load(dataset, split, length, format, path).status();
  };
  const std::string good(built->image());
  ASSERT_TRUE(load(good).ok());
  for (size_t byte = 0; byte < good.size(); byte += byte < 100 || byte + 20 > good.size() ? 1 : 97) {
    std::string bad = good;
    bad[byte] = static_cast<char>(bad[byte] ^ 0x10);
    const absl::Status status = load(bad);
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "byte " << byte;
    ASSERT_THAT(status.message(), testing::HasSubstr(path));
  }
  for (const size_t size : {size_t{0}, size_t{50}, size_t{95}, size_t{96}, good.size() - 8, good.size() - 1}) {
    EXPECT_EQ(load(good.substr(0, size)).code(), absl::StatusCode::kDataLoss) << size;
  }
  EXPECT_EQ(load(good + "x").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(load(good, SplitKind::kValidation).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(load(good, SplitKind::kTrain, 63).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(load(good, SplitKind::kTrain, 64, RowFormat::kPacked).code(), absl::StatusCode::kDataLoss);
  const auto other = MakeDataset({corpus::SyntheticLengths(3, 50, 60), {7}});
  EXPECT_EQ(RowIndex::Load(other, SplitKind::kTrain, 64, RowFormat::kSentencePair, path).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_NE(RowIndex::FileName(*other, SplitKind::kTrain, 64, RowFormat::kPacked),
            RowIndex::FileName(*dataset, SplitKind::kTrain, 64, RowFormat::kPacked));
  EXPECT_EQ(RowIndex::Load(dataset, SplitKind::kTrain, 64, RowFormat::kPacked, path + "-none").status().code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(RemoveTree(path).ok());
}

TEST_F(RowIndexTest, RefusesLengthsThatDoNotExist) {
  const auto dataset = MakeDataset({{10}});
  for (const int32_t length : {-1, 0, 2, 65536}) {
    EXPECT_EQ(RowIndex::Build(dataset, SplitKind::kTrain, length).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace bert::sampling
