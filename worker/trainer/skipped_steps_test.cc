#include "worker/trainer/skipped_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <mutex>
#include <vector>

#include "worker/trainer/rank_threads.h"
#include "worker/trainer/synthetic_batches.h"

namespace bert::trainer {
namespace {

using ::testing::HasSubstr;

TEST(SkippedStepsTest, OnlySoManyInARow) {
  SkippedSteps skipped(2);
  EXPECT_TRUE(skipped.Skipped(1, "loss on rank 0").ok());
  EXPECT_TRUE(skipped.Skipped(2, "loss on rank 0").ok());
  skipped.Completed();
  EXPECT_TRUE(skipped.Skipped(4, "loss on rank 0").ok());
  EXPECT_TRUE(skipped.Skipped(5, "loss on rank 0").ok());
  const absl::Status end = skipped.Skipped(6, "loss on rank 0");
  EXPECT_EQ(end.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(end.message(), HasSubstr("step 6: not finite: loss on rank 0; that is 3 in a row"));
}

TEST(FindNotFiniteTest, NamesTheRankWhoseLossIsNotFinite) {
  std::mutex mutex;
  std::vector<std::string> answers;
  RunRanks(3, [&](collective::Collective& group) {
    auto model = model::MaskedLm::Create(SyntheticModel(), model::Precision::kFp32, at::kCPU);
    ASSERT_TRUE(model.ok()) << model.status();
    (*model)->InitializeWeights(3);
    if (group.rank() == 1) (*model)->parameters().master().fill_(std::numeric_limits<float>::quiet_NaN());
    sampling::RowBatch rows;
    for (int64_t row = 0; row < 2; ++row) AppendSyntheticRow(Split::kTrain, 2 * group.rank() + row, rows);
    const GradientOptions options = {.global_batch_size = 6, .micro_batch_size = 2, .max_seq_len = kSyntheticWidth};
    const auto where = FindNotFinite(**model, group, options, 7, rows);
    ASSERT_TRUE(where.ok()) << where.status();
    const std::lock_guard lock(mutex);
    answers.push_back(*where);
  });
  EXPECT_EQ(answers, std::vector<std::string>(3, "loss on rank 1"));
}

TEST(FindNotFiniteTest, NamesNoRankWhereAllAreFinite) {
  RunRanks(2, [&](collective::Collective& group) {
    auto model = model::MaskedLm::Create(SyntheticModel(), model::Precision::kFp32, at::kCPU);
    ASSERT_TRUE(model.ok()) << model.status();
    (*model)->InitializeWeights(3);
    sampling::RowBatch rows;
    AppendSyntheticRow(Split::kTrain, group.rank(), rows);
    const GradientOptions options = {.global_batch_size = 2, .micro_batch_size = 2, .max_seq_len = kSyntheticWidth};
    const auto where = FindNotFinite(**model, group, options, 0, rows);
    ASSERT_TRUE(where.ok()) << where.status();
    EXPECT_THAT(*where, HasSubstr("of none alone"));
  });
}

}  // namespace
}  // namespace bert::trainer
