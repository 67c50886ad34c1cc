#include "worker/trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace bert::trainer {
namespace {

TEST(ScheduleTest, RisesToThePeakAndFallsToZeroAtTheLastStep) {
  const Schedule schedule = {.peak = 2.0, .warmup_steps = 4, .total_steps = 12};
  EXPECT_DOUBLE_EQ(schedule.LearningRate(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(3), 1.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 2.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(5), 1.75);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(8), 1.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(11), 0.25);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(12), 0.0);
}

TEST(ScheduleTest, WithoutWarmupItOnlyFalls) {
  const Schedule schedule = {.peak = 1.0, .warmup_steps = 0, .total_steps = 4};
  EXPECT_DOUBLE_EQ(schedule.LearningRate(1), 0.75);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 0.0);
}

TEST(ScheduleTest, AWarmupAsLongAsTheTrainingOnlyRises) {
  const Schedule schedule = {.peak = 1.0, .warmup_steps = 4, .total_steps = 4};
  EXPECT_DOUBLE_EQ(schedule.LearningRate(2), 0.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 1.0);
}

TEST(ScheduleTest, PastTheLastStepItStaysAtZero) {
  const Schedule schedule = {.peak = 1.0, .warmup_steps = 1, .total_steps = 4};
  EXPECT_DOUBLE_EQ(schedule.LearningRate(9), 0.0);
}

TEST(ScheduleTest, ACosineIsSteepestInTheMiddle) {
  const Schedule schedule = {.peak = 2.0, .warmup_steps = 4, .total_steps = 12, .decay = Decay::kCosine};
  EXPECT_DOUBLE_EQ(schedule.LearningRate(2), 1.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 2.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(6), 1 + std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(schedule.LearningRate(8), 1.0);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(12), 0.0);
}

TEST(ScheduleTest, DecayEndsAtItsShareOfThePeak) {
  for (const Decay decay : {Decay::kLinear, Decay::kCosine}) {
    const Schedule schedule = {.peak = 2.0, .warmup_steps = 4, .total_steps = 12, .decay = decay, .final_share = 0.25};
    EXPECT_DOUBLE_EQ(schedule.LearningRate(4), 2.0);
    EXPECT_DOUBLE_EQ(schedule.LearningRate(8), 1.25);
    EXPECT_DOUBLE_EQ(schedule.LearningRate(12), 0.5);
  }
}

TEST(ScheduleTest, AConstantRateStaysAtThePeak) {
  const Schedule schedule = {.peak = 2.0, .warmup_steps = 4, .total_steps = 12, .decay = Decay::kConstant};
  EXPECT_DOUBLE_EQ(schedule.LearningRate(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.LearningRate(12), 2.0);
}

}  // namespace
}  // namespace bert::trainer
