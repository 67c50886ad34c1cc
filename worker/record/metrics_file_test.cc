#include "worker/record/metrics_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/files.h"

namespace bert::record {
namespace {

class MetricsFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(::testing::TempDir(), "/metrics_file_test-", getpid(), ".jsonl");
    ASSERT_TRUE(RemoveTree(path_).ok());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(path_).ok()); }

  std::string path_;
};

StepPoint Step(int64_t step) {
  return {.step = step, .loss = 1.0 / static_cast<double>(step), .time = absl::FromUnixSeconds(1000 + step)};
}

TEST_F(MetricsFileTest, ALineReadsBackAsItWas) {
  const MetricsLine step = ParseMetricsLine(LineOf(StepPoint{.step = 7,
                                                             .loss = 0.1 + 0.2,
                                                             .learning_rate = 3e-4,
                                                             .grad_norm = 1.5,
                                                             .tokens_per_second = 1234.5,
                                                             .mfu = 0.4,
                                                             .data_wait = 0.01,
                                                             .checkpoint_stall = 0.02,
                                                             .time = absl::FromUnixMillis(1500)}));
  ASSERT_TRUE(step.step.has_value());
  EXPECT_EQ(step.step->step, 7);
  EXPECT_EQ(step.step->loss, 0.1 + 0.2);
  EXPECT_EQ(step.step->learning_rate, 3e-4);
  EXPECT_EQ(step.step->mfu, 0.4);
  EXPECT_EQ(step.step->time, absl::FromUnixMillis(1500));
  EXPECT_FALSE(step.step->skipped);
  const MetricsLine validation =
      ParseMetricsLine(LineOf(ValidationPoint{.step = 9, .loss = 2, .accuracy = 0.5, .masked_tokens = 77}));
  ASSERT_TRUE(validation.validation.has_value());
  EXPECT_EQ(validation.validation->step, 9);
  EXPECT_EQ(validation.validation->masked_tokens, 77);
}

TEST_F(MetricsFileTest, WhatIsNotFiniteIsNull) {
  StepPoint point = Step(3);
  point.skipped = true;
  point.loss = std::numeric_limits<double>::quiet_NaN();
  const std::string line = LineOf(point);
  EXPECT_NE(line.find("\"loss\":null"), std::string::npos) << line;
  const MetricsLine parsed = ParseMetricsLine(line);
  ASSERT_TRUE(parsed.step.has_value());
  EXPECT_TRUE(parsed.step->skipped);
  EXPECT_TRUE(std::isnan(parsed.step->loss));
}

TEST_F(MetricsFileTest, KeepsWhatIsNotBehindTheStepAndNoTornLine) {
  std::string content;
  for (int64_t step = 1; step <= 5; ++step) content += LineOf(Step(step));
  content += LineOf(ValidationPoint{.step = 5, .loss = 1});
  content += LineOf(Step(6));
  content += LineOf(ValidationPoint{.step = 6, .loss = 1});
  content += "not JSON\n";
  content += LineOf(Step(4)).substr(0, 10);
  ASSERT_TRUE(WriteFile(path_, content).ok());
  ASSERT_TRUE(KeepUpTo(path_, 5).ok());
  int steps = 0;
  int validations = 0;
  int lines = 0;
  ASSERT_TRUE(ForEachLine(path_, [&](const std::string& line) {
                ++lines;
                const MetricsLine parsed = ParseMetricsLine(line);
                if (parsed.validation.has_value()) ++validations;
                if (!parsed.step.has_value()) return;
                ++steps;
                EXPECT_EQ(parsed.step->step, steps);
              }).ok());
  EXPECT_EQ(steps, 5);
  EXPECT_EQ(validations, 1);
  EXPECT_EQ(lines, 6);
  EXPECT_EQ(access(absl::StrCat(path_, ".tmp").c_str(), F_OK), -1);
}

TEST_F(MetricsFileTest, NoFileIsNothingToKeep) {
  EXPECT_TRUE(KeepUpTo(path_, 5).ok());
  EXPECT_EQ(access(path_.c_str(), F_OK), -1);
  EXPECT_TRUE(absl::IsNotFound(ForEachLine(path_, [](const std::string&) {})));
}

}  // namespace
}  // namespace bert::record
