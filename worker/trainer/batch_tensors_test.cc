#include "worker/trainer/batch_tensors.h"

#include <ATen/core/Formatting.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace bert::trainer {
namespace {

// Three rows: two segments; one segment with nothing masked; one segment.
sampling::RowBatch Rows() {
  return {.step = 3,
          .row_begin = 10,
          .row_count = 3,
          .token_ids = {2, 4, 3, 2, 7, 8, 3, /**/ 2, 9, 3, /**/ 2, 4, 4, 3},
          .segment_counts = {2, 1, 1},
          .segment_lengths = {3, 4, 3, 4},
          .masked_counts = {2, 0, 2},
          .masked_positions = {1, 4, 1, 2},
          .labels = {11, 7, 12, 13}};
}

at::Tensor Matrix(std::initializer_list<int64_t> values, int64_t columns) {
  return at::tensor(values, at::kLong).view({-1, columns});
}

TEST(BatchTensorsTest, PadsRowsAndNumbersPositionsAndSegments) {
  const sampling::RowBatch rows = Rows();
  const model::MaskedBatch batch = RowReader(rows).Tensors(0, 3, 8, 0);
  EXPECT_TRUE(batch.input_ids.equal(Matrix({2, 4, 3, 2, 7, 8, 3, 0,  //
                                            2, 9, 3, 0, 0, 0, 0, 0,  //
                                            2, 4, 4, 3, 0, 0, 0, 0},
                                           8)))
      << batch.input_ids;
  EXPECT_TRUE(batch.position_ids.equal(Matrix({0, 1, 2, 0, 1, 2, 3, 0,  //
                                               0, 1, 2, 0, 0, 0, 0, 0,  //
                                               0, 1, 2, 3, 0, 0, 0, 0},
                                              8)))
      << batch.position_ids;
  EXPECT_TRUE(batch.segments.equal(Matrix({0, 0, 0, 1,  1,  1,  1,  -1,  //
                                           0, 0, 0, -1, -1, -1, -1, -1,  //
                                           0, 0, 0, 0,  -1, -1, -1, -1},
                                          8)
                                       .to(at::kInt)))
      << batch.segments;
  EXPECT_TRUE(batch.masked_positions.equal(at::tensor({1, 4, 17, 18}, at::kLong))) << batch.masked_positions;
  EXPECT_TRUE(batch.labels.equal(at::tensor({11, 7, 12, 13}, at::kLong))) << batch.labels;
}

TEST(BatchTensorsTest, CutsAMicroBatchOutOfTheMiddle) {
  const sampling::RowBatch rows = Rows();
  const RowReader reader(rows);
  const model::MaskedBatch batch = reader.Tensors(1, 3, 4, 99);
  EXPECT_TRUE(batch.input_ids.equal(Matrix({2, 9, 3, 99, 2, 4, 4, 3}, 4))) << batch.input_ids;
  EXPECT_TRUE(batch.masked_positions.equal(at::tensor({5, 6}, at::kLong))) << batch.masked_positions;
  EXPECT_TRUE(batch.labels.equal(at::tensor({12, 13}, at::kLong))) << batch.labels;
  EXPECT_EQ(reader.TokenCount(1, 3), 7);
  EXPECT_EQ(reader.TokenCount(0, 3), 14);
  EXPECT_EQ(reader.Tensors(1, 2, 4, 0).labels.numel(), 0);
}

TEST(BatchTensorsTest, GivesTheTypesAndLabelsOfPairs) {
  const sampling::RowBatch rows = {.row_count = 2,
                                   .token_ids = {2, 4, 3, 7, 3, /**/ 2, 5, 6, 3, 8, 9, 3},
                                   .segment_counts = {1, 1},
                                   .segment_lengths = {5, 7},
                                   .masked_counts = {1, 0},
                                   .masked_positions = {1},
                                   .labels = {11},
                                   .second_begins = {3, 4},
                                   .is_next = {1, 0}};
  const RowReader reader(rows);
  const model::MaskedBatch batch = reader.Tensors(0, 2, 8, 0);
  EXPECT_TRUE(batch.token_type_ids.equal(Matrix({0, 0, 0, 1, 1, 0, 0, 0,  //
                                                 0, 0, 0, 0, 1, 1, 1, 0},
                                                8)))
      << batch.token_type_ids;
  EXPECT_TRUE(batch.next_sentence_labels.equal(at::tensor({0, 1}, at::kLong))) << batch.next_sentence_labels;
  EXPECT_TRUE(reader.Tensors(1, 2, 8, 0).next_sentence_labels.equal(at::tensor({1}, at::kLong)));
  EXPECT_EQ(reader.MaskedCount(0, 2), 1);
  EXPECT_EQ(reader.MaskedCount(1, 2), 0);
  const sampling::RowBatch packed = Rows();
  EXPECT_FALSE(RowReader(packed).Tensors(0, 1, 8, 0).token_type_ids.defined());
}

}  // namespace
}  // namespace bert::trainer
