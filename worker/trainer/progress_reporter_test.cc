#include "worker/trainer/progress_reporter.h"

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "worker/trainer/fake_coordinator.h"

namespace bert::trainer {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(60);

ProgressReporter::Options Fast() { return {.cadence = absl::Milliseconds(5)}; }

StepMetrics Step(int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = 1.0 / static_cast<double>(step);
  return metrics;
}

void ExpectSteps(const std::vector<StepMetrics>& steps, int64_t first, int64_t last) {
  ASSERT_EQ(static_cast<int64_t>(steps.size()), last - first + 1);
  for (int64_t i = first; i <= last; ++i) EXPECT_EQ(steps[i - first].step, i);
}

TEST(ProgressReporterTest, EveryStepArrivesOnceAndInOrder) {
  FakeCoordinator coordinator;
  StepTime time(&RealClock());
  ProgressReporter reporter(&coordinator, &time, Fast());
  for (int64_t step = 1; step <= 100; ++step) {
    reporter.SetCompletedSteps(step);
    reporter.AddStep(Step(step));
  }
  reporter.AddValidation({.step = 100, .loss = 2.0});
  ASSERT_TRUE(reporter.Flush(kTimeout).ok());
  ExpectSteps(coordinator.steps(), 1, 100);
  ASSERT_EQ(coordinator.validations().size(), 1u);
  EXPECT_EQ(coordinator.completed_steps(), 100);
  EXPECT_FALSE(reporter.StopRequested());
}

TEST(ProgressReporterTest, AnOutageLosesNothing) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::UnavailableError("down"));
  StepTime time(&RealClock());
  ProgressReporter reporter(&coordinator, &time, Fast());
  reporter.AddStep(Step(1));
  coordinator.AwaitReports(3);
  reporter.AddStep(Step(2));
  reporter.SetCompletedSteps(2);
  EXPECT_EQ(reporter.Flush(absl::Milliseconds(10)).code(), absl::StatusCode::kDeadlineExceeded);
  coordinator.Answer(absl::OkStatus());
  ASSERT_TRUE(reporter.Flush(kTimeout).ok());
  ExpectSteps(coordinator.steps(), 1, 2);
}

TEST(ProgressReporterTest, TheQueueIsBoundedAndKeepsTheNewest) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::UnavailableError("down"));
  StepTime time(&RealClock());
  ProgressReporter::Options options = Fast();
  options.points_max = 50;
  options.points_per_report = 20;
  ProgressReporter reporter(&coordinator, &time, options);
  for (int64_t step = 1; step <= 80; ++step) reporter.AddStep(Step(step));
  coordinator.AwaitReports(2);
  coordinator.Answer(absl::OkStatus());
  ASSERT_TRUE(reporter.Flush(kTimeout).ok());
  ExpectSteps(coordinator.steps(), 31, 80);
}

TEST(ProgressReporterTest, HandsOnStopAndLoaders) {
  FakeCoordinator coordinator;
  coordinator.Stop();
  coordinator.SetLoaders({"a:1", "b:2"});
  StepTime time(&RealClock());
  std::promise<std::vector<std::string>> heard;
  ProgressReporter::Options options = Fast();
  options.on_loaders = [&, told = false](const std::vector<std::string>& live) mutable {
    if (!std::exchange(told, true)) heard.set_value(live);
  };
  ProgressReporter reporter(&coordinator, &time, options);
  EXPECT_EQ(heard.get_future().get(), (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_TRUE(reporter.StopRequested());
}

TEST(ProgressReporterTest, AStaleTrainerIsTold) {
  FakeCoordinator coordinator;
  coordinator.Answer(absl::FailedPreconditionError("generation 2 exists"));
  StepTime time(&RealClock());
  std::promise<absl::Status> told;
  ProgressReporter::Options options = Fast();
  options.on_stale = [&](const absl::Status& status) { told.set_value(status); };
  ProgressReporter reporter(&coordinator, &time, options);
  EXPECT_EQ(told.get_future().get().message(), "generation 2 exists");
}

TEST(ProgressReporterTest, AReportsSharesEndWhereItsStepsEnd) {
  SimulatedClock clock(absl::UnixEpoch());
  StepTime time(&clock);
  FakeCoordinator coordinator;
  ProgressReporter reporter(&coordinator, &time, Fast());
  clock.Advance(absl::Seconds(4));
  time.Add(Phase::kCompute, absl::Seconds(3));
  reporter.AddRates({.tokens_per_second = 10, .mfu = 0.5}, absl::Seconds(4));
  // Of the next step, which has not ended.
  clock.Advance(absl::Seconds(4));
  time.Add(Phase::kCompute, absl::Seconds(2));
  reporter.SetCompletedSteps(1);
  ASSERT_TRUE(reporter.Flush(kTimeout).ok());
  ASSERT_TRUE(coordinator.health().has_value());
  EXPECT_DOUBLE_EQ(coordinator.health()->time_shares.compute, 0.75);
  EXPECT_DOUBLE_EQ(coordinator.health()->rates.tokens_per_second, 10);
  reporter.AddRates({.tokens_per_second = 20, .mfu = 0.25}, absl::Seconds(4));
  reporter.SetCompletedSteps(2);
  ASSERT_TRUE(reporter.Flush(kTimeout).ok());
  EXPECT_DOUBLE_EQ(coordinator.health()->time_shares.compute, 0.5);
  EXPECT_DOUBLE_EQ(coordinator.health()->rates.mfu, 0.25);
}

TEST(StepTimeTest, SharesAreOfTheWallTimeBetweenTwoMoments) {
  SimulatedClock clock(absl::UnixEpoch());
  StepTime time(&clock);
  const PhaseTotals start = time.Totals();
  {
    const PhaseTimer timer(&time, Phase::kCompute);
    clock.Advance(absl::Seconds(6));
  }
  {
    const PhaseTimer timer(&time, Phase::kDataWait);
    clock.Advance(absl::Seconds(2));
  }
  clock.Advance(absl::Seconds(2));
  const PhaseTotals middle = time.Totals();
  const TimeShares shares = SharesBetween(start, middle);
  EXPECT_DOUBLE_EQ(shares.compute, 0.6);
  EXPECT_DOUBLE_EQ(shares.data_wait, 0.2);
  EXPECT_DOUBLE_EQ(shares.all_reduce, 0.0);
  clock.Advance(absl::Seconds(1));
  EXPECT_DOUBLE_EQ(SharesBetween(middle, time.Totals()).compute, 0.0);
  EXPECT_EQ(time.Total(Phase::kCompute), absl::Seconds(6));
}

}  // namespace
}  // namespace bert::trainer
