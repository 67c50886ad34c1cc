#include "worker/trainer/gradient.h"

#include <gtest/gtest.h>

#include <mutex>
#include <vector>

#include "common/clock.h"
#include "worker/trainer/batch_tensors.h"
#include "worker/trainer/rank_threads.h"
#include "worker/trainer/synthetic_batches.h"

namespace bert::trainer {
namespace {

constexpr int32_t kRows = 13;

struct Result {
  at::Tensor grad;
  StepTotals totals;
};

enum class Kind { kFlat, kLanes };

// Step 5's gradient at rank 0, from `world_size` ranks that must agree.
Result Compute(Kind kind, int world_size, int32_t micro_batch_size, int lanes = 4, double dropout = 0.1,
               SyntheticKind rows_kind = SyntheticKind::kRows, int32_t row_count = kRows) {
  const bool pairs = rows_kind == SyntheticKind::kPairs;
  std::mutex mutex;
  std::vector<Result> results(world_size);
  RunRanks(world_size, [&](collective::Collective& group) {
    model::ModelConfig config = SyntheticModel();
    config.hidden_dropout = config.attention_dropout = dropout;
    config.next_sentence = pairs;
    auto model = model::MaskedLm::Create(config, model::Precision::kFp32, at::kCPU);
    ASSERT_TRUE(model.ok()) << model.status();
    (*model)->InitializeWeights(1);
    StepTime time(&RealClock());
    const GradientOptions options = {.global_batch_size = row_count,
                                     .micro_batch_size = micro_batch_size,
                                     .max_seq_len = kSyntheticWidth,
                                     .seed = 9,
                                     .buckets = {.bucket_elements = 1000}};
    const auto gradient = kind == Kind::kFlat ? MakeFlatGradient(model->get(), &group, &time, options)
                                              : MakeLaneGradient(model->get(), &group, &time, options, lanes);
    const Part rows = gradient->rows();
    const auto batch = SyntheticBatches({.global_rows = row_count,
                                         .row_begin = static_cast<int32_t>(rows.begin),
                                         .row_end = static_cast<int32_t>(rows.end),
                                         .first_step = 5,
                                         .last_step = 6},
                                        rows_kind)
                           .NextStep();
    ASSERT_TRUE(batch.ok());
    const auto totals = gradient->Compute(5, *batch, group.rank() == world_size - 1);
    ASSERT_TRUE(totals.ok()) << totals.status();
    const std::lock_guard lock(mutex);
    results[group.rank()] = {(*model)->parameters().grad().clone(), *totals};
  });
  for (const Result& result : results) {
    EXPECT_TRUE(result.grad.equal(results[0].grad));
    EXPECT_EQ(result.totals.nll, results[0].totals.nll);
    EXPECT_EQ(result.totals.next_sentence_nll, results[0].totals.next_sentence_nll);
    EXPECT_EQ(result.totals.next_sentence_nll > 0, pairs);
    EXPECT_EQ(result.totals.masked_tokens, pairs ? results[0].totals.masked_tokens : row_count);
    EXPECT_EQ(result.totals.tokens, results[0].totals.tokens);
    EXPECT_TRUE(result.totals.stop);
  }
  return results[0];
}

double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).norm().item<double>() / b.norm().item<double>();
}

TEST(FlatGradientTest, HowRowsAreCutChangesOnlyRounding) {
  const Result whole = Compute(Kind::kFlat, 1, kRows, 0, 0.0);
  EXPECT_GT(whole.totals.nll, 0);
  for (const int world_size : {1, 2, 3}) {
    for (const int32_t micro_batch_size : {1, 3, 5}) {
      const Result cut = Compute(Kind::kFlat, world_size, micro_batch_size, 0, 0.0);
      EXPECT_LT(RelativeError(cut.grad, whole.grad), 1e-5) << world_size << " ranks, " << micro_batch_size;
      EXPECT_NEAR(cut.totals.nll, whole.totals.nll, 1e-5 * whole.totals.nll);
      EXPECT_EQ(cut.totals.tokens, whole.totals.tokens);
    }
  }
}

TEST(FlatGradientTest, ARankWithoutRowsAddsNothing) {
  const Result whole = Compute(Kind::kFlat, 1, 2, 0, 0.0, SyntheticKind::kRows, 2);
  const Result cut = Compute(Kind::kFlat, 3, 2, 0, 0.0, SyntheticKind::kRows, 2);
  EXPECT_LT(RelativeError(cut.grad, whole.grad), 1e-5);
  EXPECT_EQ(cut.totals.tokens, whole.totals.tokens);
}

TEST(LaneGradientTest, IsTheSameBitsAtEveryWorldSize) {
  const Result one = Compute(Kind::kLanes, 1, 2);
  for (const int world_size : {2, 3, 4}) {
    const Result more = Compute(Kind::kLanes, world_size, 2);
    EXPECT_TRUE(more.grad.equal(one.grad)) << world_size;
    EXPECT_EQ(more.totals.nll, one.totals.nll) << world_size;
  }
}

TEST(LaneGradientTest, AgreesWithTheFlatGradient) {
  const Result lanes = Compute(Kind::kLanes, 2, 2, 4, 0.0);
  const Result flat = Compute(Kind::kFlat, 2, 2, 4, 0.0);
  EXPECT_LT(RelativeError(lanes.grad, flat.grad), 1e-5);
  EXPECT_NEAR(lanes.totals.nll, flat.totals.nll, 1e-5 * flat.totals.nll);
}

// The mean over masked tokens and the mean over rows, from one model that sees the whole batch.
at::Tensor MeanGradientOfPairs() {
  model::ModelConfig config = SyntheticModel();
  config.hidden_dropout = config.attention_dropout = 0;
  config.next_sentence = true;
  auto model = model::MaskedLm::Create(config, model::Precision::kFp32, at::kCPU);
  (*model)->InitializeWeights(1);
  const auto batch =
      SyntheticBatches({.global_rows = kRows, .row_end = kRows, .first_step = 5, .last_step = 6}, SyntheticKind::kPairs)
          .NextStep();
  const model::MaskedBatch tensors = RowReader(*batch).Tensors(0, kRows, kSyntheticWidth, config.pad_token_id);
  const auto gradient = [&](double weight) {
    (*model)->parameters().ZeroGrad();
    (*model)->ForwardBackward(tensors, 1, weight);
    return (*model)->parameters().grad().clone();
  };
  const at::Tensor masked = gradient(0);
  const at::Tensor rows = gradient(1).sub(masked);
  return masked.div(tensors.labels.numel()).add(rows.div(kRows));
}

TEST(NextSentenceGradientTest, BothLossesAreMeansHoweverTheBatchIsCut) {
  const at::Tensor expected = MeanGradientOfPairs();
  for (const Kind kind : {Kind::kFlat, Kind::kLanes}) {
    for (const int world_size : {1, 2, 3}) {
      for (const int32_t micro_batch_size : {1, 4, kRows}) {
        const Result cut = Compute(kind, world_size, micro_batch_size, 4, 0.0, SyntheticKind::kPairs);
        EXPECT_LT(RelativeError(cut.grad.div(cut.totals.masked_tokens), expected), 1e-5)
            << world_size << " ranks, " << micro_batch_size;
      }
    }
  }
}

TEST(NextSentenceGradientTest, LanesAreTheSameBitsAtEveryWorldSize) {
  const Result one = Compute(Kind::kLanes, 1, 2, 4, 0.1, SyntheticKind::kPairs);
  for (const int world_size : {2, 4}) {
    const Result more = Compute(Kind::kLanes, world_size, 2, 4, 0.1, SyntheticKind::kPairs);
    EXPECT_TRUE(more.grad.equal(one.grad)) << world_size;
    EXPECT_EQ(more.totals.next_sentence_nll, one.totals.next_sentence_nll) << world_size;
  }
}

TEST(RowSplitTest, PartsCoverEverythingOnce) {
  int64_t next = 0;
  for (int64_t i = 0; i < 5; ++i) {
    const Part part = PartOf(13, i, 5);
    EXPECT_EQ(part.begin, next);
    EXPECT_GE(part.size(), 2);
    EXPECT_LE(part.size(), 3);
    next = part.end;
  }
  EXPECT_EQ(next, 13);
}

TEST(RowSplitTest, DropoutSeedsDiffer) {
  EXPECT_EQ(DropoutSeed(1, 2, 3, 4), DropoutSeed(1, 2, 3, 4));
  EXPECT_NE(DropoutSeed(1, 2, 3, 4), DropoutSeed(2, 2, 3, 4));
  EXPECT_NE(DropoutSeed(1, 2, 3, 4), DropoutSeed(1, 3, 3, 4));
  EXPECT_NE(DropoutSeed(1, 2, 3, 4), DropoutSeed(1, 2, 4, 4));
  EXPECT_NE(DropoutSeed(1, 2, 3, 4), DropoutSeed(1, 2, 3, 5));
}

}  // namespace
}  // namespace bert::trainer
