#include "worker/trainer/step_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/files.h"
#include "worker/record/metrics_file.h"
#include "worker/trainer/fake_coordinator.h"

namespace bert::trainer {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(60);

estimate::ModelShape Shape() {
  return {.vocab_size = 100,
          .hidden_size = 8,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .intermediate_size = 32,
          .max_position_embeddings = 16,
          .type_vocab_size = 2};
}

TEST(StepLogTest, RecordsSpeedUtilisationAndWaitsOfEachStep) {
  const std::string directory = absl::StrCat(::testing::TempDir(), "/step_log_test-", getpid());
  SimulatedClock clock(absl::UnixEpoch());
  StepTime time(&clock);
  FakeCoordinator coordinator;
  ProgressReporter reporter(&coordinator, &time, {.cadence = absl::Milliseconds(5)});
  std::vector<record::StepPoint> points;
  {
    record::TrainingRecord record({.directory = directory, .cadence = absl::Milliseconds(5)});
    StepLog log({.rank = 0, .world_size = 2, .last_step = 2, .log_every_steps = 1, .shape = Shape(), .peak_flops = 1e6},
                &time, &reporter, &record);
    clock.Advance(absl::Seconds(4));
    time.Add(Phase::kDataWait, absl::Seconds(1));
    log.Add({.step = 1, .loss = 3, .masked_tokens = 5, .time = absl::UnixEpoch()},
            {.rows = 4, .tokens = 40, .spent = absl::Seconds(4)});
    clock.Advance(absl::Seconds(5));
    time.Add(Phase::kCheckpoint, absl::Seconds(1));
    log.AddSkipped({.step = 2, .loss = 3, .time = absl::UnixEpoch()},
                   {.rows = 4, .tokens = 40, .spent = absl::Seconds(4)});
    reporter.SetCompletedSteps(2);
    ASSERT_TRUE(reporter.Flush(kTimeout).ok());
    ASSERT_TRUE(record.Flush(kTimeout).ok());
    ASSERT_TRUE(record::ForEachLine(directory + "/metrics.jsonl", [&](const std::string& line) {
                  points.push_back(record::ParseMetricsLine(line).step.value());
                }).ok());
  }
  ASSERT_TRUE(RemoveTree(directory).ok());
  ASSERT_EQ(points.size(), 2u);
  EXPECT_DOUBLE_EQ(points[0].tokens_per_second, 10);
  EXPECT_DOUBLE_EQ(points[0].data_wait, 0.25);
  const double flops = estimate::TrainFlops(Shape(), {.rows = 4, .tokens = 40, .masked_tokens = 5});
  EXPECT_DOUBLE_EQ(points[0].mfu, flops / 4 / 2e6);
  EXPECT_TRUE(points[1].skipped);
  EXPECT_DOUBLE_EQ(points[1].checkpoint_stall, 0.2);
  EXPECT_EQ(coordinator.steps().size(), 1u);
  EXPECT_EQ(coordinator.skipped_steps(), 1);
  ASSERT_TRUE(coordinator.health().has_value());
  EXPECT_DOUBLE_EQ(coordinator.health()->rates.tokens_per_second, 5);
  EXPECT_DOUBLE_EQ(coordinator.health()->rates.mfu, points[0].mfu);
}

}  // namespace
}  // namespace bert::trainer
