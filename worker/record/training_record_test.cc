#include "worker/record/training_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bert/tensorboard/v1/event.pb.h"
#include "common/files.h"
#include "worker/record/crc32c.h"
#include "worker/record/event_file.h"
#include "worker/record/metrics_file.h"
#include "worker/trainer/file_size_limit.h"

namespace bert::record {
namespace {

using tensorboard::v1::Event;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Integer>
Integer LittleEndian(std::string_view bytes) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) value |= static_cast<Integer>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  return value;
}

constexpr absl::Duration kTimeout = absl::Seconds(60);

class TrainingRecordTest : public ::testing::Test {
 protected:
  void SetUp() override { directory_ = absl::StrCat(::testing::TempDir(), "/training_record_test-", getpid()); }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  TrainingRecord::Options Options(int64_t generation, int64_t first_step) const {
    return {.directory = directory_,
            .generation = generation,
            .first_step = first_step,
            .unigram_cross_entropy = 6,
            .cadence = absl::Milliseconds(5)};
  }

  std::vector<int64_t> StepsInMetrics() const {
    std::vector<int64_t> steps;
    EXPECT_TRUE(ForEachLine(directory_ + "/metrics.jsonl", [&](const std::string& line) {
                  const MetricsLine parsed = ParseMetricsLine(line);
                  EXPECT_TRUE(parsed.step.has_value() || parsed.validation.has_value()) << line;
                  if (parsed.step.has_value()) steps.push_back(parsed.step->step);
                }).ok());
    return steps;
  }

  // Checks the framing of every record.
  std::vector<Event> EventsOf(int64_t generation) const {
    const auto bytes = ReadFile(absl::StrCat(directory_, "/tensorboard/", EventFileName(generation)));
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    std::vector<Event> events;
    std::string_view left = *bytes;
    while (left.size() >= 12) {
      const uint64_t length = LittleEndian<uint64_t>(left);
      EXPECT_EQ(LittleEndian<uint32_t>(left.substr(8)), MaskedCrc32c(left.substr(0, 8)));
      EXPECT_GE(left.size(), length + 16);
      if (left.size() < length + 16) break;
      const std::string_view content = left.substr(12, length);
      EXPECT_EQ(LittleEndian<uint32_t>(left.substr(12 + length)), MaskedCrc32c(content));
      EXPECT_TRUE(events.emplace_back().ParseFromString(std::string(content)));
      left.remove_prefix(length + 16);
    }
    EXPECT_TRUE(left.empty());
    return events;
  }

  std::string directory_;
};

StepPoint Step(int64_t step) {
  return {.step = step, .loss = 10.0 / static_cast<double>(step), .learning_rate = 1e-3, .time = absl::UnixEpoch()};
}

TEST_F(TrainingRecordTest, WritesStepsValidationsAndCharts) {
  TrainingRecord record(Options(1, 0));
  for (int64_t step = 1; step <= 3; ++step) record.Add(Step(step));
  record.Add(ValidationPoint{.step = 3, .loss = 4, .perplexity = 50, .accuracy = 0.25, .predictions = "**seen**"});
  ASSERT_TRUE(record.Finish(kTimeout).ok());
  EXPECT_THAT(StepsInMetrics(), ElementsAre(1, 2, 3));
  const std::vector<Event> events = EventsOf(1);
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].session_log().status(), tensorboard::v1::SESSION_STATUS_START);
  EXPECT_EQ(events[1].step(), 1);
  EXPECT_EQ(events[2].summary().values(0).tag(), "train/loss");
  EXPECT_FLOAT_EQ(events[2].summary().values(0).simple_value(), 10);
  EXPECT_EQ(events[5].summary().values(3).tensor().strings(0), "**seen**");
  const auto svg = ReadFile(directory_ + "/loss.svg");
  ASSERT_TRUE(svg.ok());
  EXPECT_THAT(*svg, HasSubstr("unigram baseline (6)"));
  EXPECT_TRUE(ReadFile(directory_ + "/learning_rate.svg").ok());
}

TEST_F(TrainingRecordTest, AResumedTrainingHasNoStepTwice) {
  {
    TrainingRecord record(Options(1, 0));
    for (int64_t step = 1; step <= 7; ++step) record.Add(Step(step));
  }
  // An older process that has not heard of its end.
  TrainingRecord late(Options(1, 7));
  late.Add(Step(8));
  ASSERT_TRUE(late.Flush(kTimeout).ok());
  TrainingRecord record(Options(2, 4));
  for (int64_t step = 5; step <= 6; ++step) record.Add(Step(step));
  ASSERT_TRUE(record.Flush(kTimeout).ok());
  late.Add(Step(9));
  ASSERT_TRUE(late.Flush(kTimeout).ok());
  EXPECT_THAT(StepsInMetrics(), ElementsAre(1, 2, 3, 4, 5, 6));
  // The first file ends where the second begins: version, session and four steps are left.
  EXPECT_EQ(EventsOf(1).size(), 6u);
  const std::vector<Event> events = EventsOf(2);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[1].step(), 5);
}

TEST(EventFileTest, CutsBeforeALaterStepAndBeforeDamage) {
  const std::string header = EventFileHeader(1, absl::UnixEpoch());
  const std::string first = EventOf(Step(1));
  const std::string file = header + first + EventOf(Step(2));
  EXPECT_EQ(BytesUpTo(file, 2), file.size());
  EXPECT_EQ(BytesUpTo(file, 1), header.size() + first.size());
  EXPECT_EQ(BytesUpTo(file.substr(0, file.size() - 1), 2), header.size() + first.size());
  std::string damaged = file;
  damaged[header.size() + 20] ^= 1;
  EXPECT_EQ(BytesUpTo(damaged, 2), header.size());
  EXPECT_EQ(BytesUpTo("", 2), 0u);
}

TEST_F(TrainingRecordTest, AFullDiskCostsNoWholeRecordAndIsGotOver) {
  TrainingRecord record(Options(1, 0));
  record.Add(Step(1));
  ASSERT_TRUE(record.Flush(kTimeout).ok());
  {
    const trainer::FileSizeLimit limit(700);
    for (int64_t step = 2; step <= 30; ++step) {
      record.Add(Step(step));
      ASSERT_TRUE(record.Flush(kTimeout).ok());
    }
    // Whole as far as they go.
    EventsOf(1);
    EXPECT_THAT(StepsInMetrics(), ::testing::Contains(1));
  }
  record.Add(Step(31));
  ASSERT_TRUE(record.Flush(kTimeout).ok());
  EXPECT_EQ(StepsInMetrics().size(), 31u);
  EXPECT_EQ(EventsOf(1).size(), 33u);
}

TEST_F(TrainingRecordTest, WhatADiskRefusesForLongIsBounded) {
  TrainingRecord::Options options = Options(1, 0);
  options.unwritten_bytes_max = 2000;
  {
    const trainer::FileSizeLimit limit(10);
    TrainingRecord record(options);
    for (int64_t step = 1; step <= 200; ++step) record.Add(Step(step));
    ASSERT_TRUE(record.Flush(kTimeout).ok());
    EXPECT_FALSE(record.Finish(kTimeout).ok());
  }
  TrainingRecord record(Options(2, 0));
  record.Add(Step(1));
  ASSERT_TRUE(record.Finish(kTimeout).ok());
  EXPECT_THAT(StepsInMetrics(), ElementsAre(1));
}

}  // namespace
}  // namespace bert::record
