#include "worker/agent/log_shipper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/agent/fake_coordinator.h"

namespace bert::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const RankKey kFirst{"job-a", 1, 0};
const RankKey kSecond{"job-a", 1, 1};
const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "away");

class LogShipperTest : public testing::Test {
 protected:
  LogShipper::Options Options() const {
    return {.node = "node-1",
            .linger = absl::Milliseconds(1),
            .backoff_initial = absl::Milliseconds(1),
            .backoff_max = absl::Milliseconds(10)};
  }
  static void Append(LogShipper& shipper, const RankKey& key, int begin, int end) {
    for (int i = begin; i < end; ++i) shipper.Append(key, absl::UnixEpoch(), absl::StrCat("line ", i));
  }
  static std::vector<std::string> Lines(int begin, int end) {
    std::vector<std::string> lines;
    for (int i = begin; i < end; ++i) lines.push_back(absl::StrCat("line ", i));
    return lines;
  }

  FakeCoordinator coordinator_;
  AgentMetrics metrics_;
};

TEST_F(LogShipperTest, ShipsTheLinesOfEachRankInOrder) {
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  shipper.SetIncarnation("one");
  Append(shipper, kFirst, 0, 100);
  Append(shipper, kSecond, 0, 10);
  EXPECT_TRUE(shipper.Flush(absl::Seconds(20)));
  EXPECT_EQ(coordinator_.Snapshot().logs[kFirst], Lines(0, 100));
  EXPECT_EQ(coordinator_.Snapshot().logs[kSecond], Lines(0, 10));
  EXPECT_EQ(metrics_.log_lines_acknowledged.Value(), 110);
}

TEST_F(LogShipperTest, SendsNothingBeforeTheNodeIsRegistered) {
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  Append(shipper, kFirst, 0, 1);
  EXPECT_FALSE(shipper.Flush(absl::Milliseconds(50)));
  EXPECT_EQ(coordinator_.Snapshot().uploads, 0);
  shipper.SetIncarnation("one");
  EXPECT_TRUE(shipper.Flush(absl::Seconds(20)));
}

TEST_F(LogShipperTest, TriesAgainUntilItIsStored) {
  coordinator_.Use([](auto& state) { state.upload_statuses = {kUnavailable, kUnavailable, kUnavailable}; });
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  shipper.SetIncarnation("one");
  Append(shipper, kFirst, 0, 100);
  EXPECT_TRUE(shipper.Flush(absl::Seconds(20)));
  EXPECT_EQ(coordinator_.Snapshot().logs[kFirst], Lines(0, 100));
}

TEST_F(LogShipperTest, ALostAnswerDoublesNothing) {
  coordinator_.Use([](auto& state) {
    state.upload_statuses = {kUnavailable, grpc::Status::OK, kUnavailable};
    state.store_on_failure = true;
  });
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  shipper.SetIncarnation("one");
  Append(shipper, kFirst, 0, 100);
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  Append(shipper, kFirst, 100, 200);
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  EXPECT_EQ(coordinator_.Snapshot().logs[kFirst], Lines(0, 200));
}

TEST_F(LogShipperTest, GoesOnWhereTheCoordinatorIs) {
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  shipper.SetIncarnation("one");
  Append(shipper, kFirst, 0, 10);
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  // It comes back from a disk that has lost the last lines; they are gone here as well.
  coordinator_.Use([](auto& state) { state.logs[kFirst].resize(5); });
  Append(shipper, kFirst, 10, 12);
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  EXPECT_THAT(coordinator_.Snapshot().logs[kFirst],
              ElementsAre("line 0", "line 1", "line 2", "line 3", "line 4", "line 10", "line 11"));
}

TEST_F(LogShipperTest, CutsUploadsToSize) {
  auto options = Options();
  options.upload_bytes_max = 1000;
  LogShipper shipper(coordinator_.Channel(), options, &metrics_);
  Append(shipper, kFirst, 0, 100);
  shipper.SetIncarnation("one");
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  EXPECT_EQ(coordinator_.Snapshot().logs[kFirst], Lines(0, 100));
  EXPECT_GE(coordinator_.Snapshot().uploads, 10);
}

TEST_F(LogShipperTest, HoldsABoundedWindowAndSaysWhatIsMissing) {
  auto options = Options();
  options.window_bytes_max = 10'000;
  LogShipper shipper(coordinator_.Channel(), options, &metrics_);
  Append(shipper, kFirst, 0, 10'000);
  shipper.SetIncarnation("one");
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  const std::vector<std::string> stored = coordinator_.Snapshot().logs[kFirst];
  ASSERT_GT(stored.size(), 10u);
  EXPECT_LT(stored.size(), 200u);
  const int64_t missing = 10'000 - (static_cast<int64_t>(stored.size()) - 1);
  EXPECT_THAT(stored.front(), HasSubstr(absl::StrCat("[", missing, " lines are only in the log file")));
  EXPECT_EQ(stored.back(), "line 9999");
  EXPECT_EQ(metrics_.log_lines_dropped.Value(), static_cast<double>(missing));
}

TEST_F(LogShipperTest, KeepsTheNumbersOfLinesThatWereSent) {
  auto options = Options();
  options.window_bytes_max = 10'000;
  options.backoff_initial = options.backoff_max = absl::Milliseconds(1);
  coordinator_.Use([](auto& state) {
    state.upload_statuses.assign(3, kUnavailable);
    state.store_on_failure = true;
  });
  LogShipper shipper(coordinator_.Channel(), options, &metrics_);
  shipper.SetIncarnation("one");
  Append(shipper, kFirst, 0, 10);
  ASSERT_TRUE(coordinator_.WaitFor([](const auto& state) { return state.uploads >= 1; }));
  Append(shipper, kFirst, 10, 10'000);
  ASSERT_TRUE(shipper.Flush(absl::Seconds(20)));
  const std::vector<std::string> stored = coordinator_.Snapshot().logs[kFirst];
  EXPECT_EQ(stored.front(), "line 0");
  EXPECT_EQ(stored.back(), "line 9999");
  // Every line is there once, or counted as missing.
  std::vector<std::string> lines;
  for (const std::string& line : stored) {
    if (absl::StartsWith(line, "line ")) lines.push_back(line);
  }
  EXPECT_EQ(10'000 - static_cast<double>(lines.size()), metrics_.log_lines_dropped.Value());
  std::sort(lines.begin(), lines.end());
  EXPECT_EQ(std::adjacent_find(lines.begin(), lines.end()), lines.end());
}

TEST_F(LogShipperTest, WhatIsRefusedForGoodDoesNotBlockTheRest) {
  coordinator_.Use(
      [](auto& state) { state.upload_statuses = {grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no such thing")}; });
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  shipper.SetIncarnation("one");
  shipper.Append(kFirst, absl::UnixEpoch(), "refused");
  EXPECT_TRUE(shipper.Flush(absl::Seconds(20)));
  shipper.Append(kSecond, absl::UnixEpoch(), "taken");
  EXPECT_TRUE(shipper.Flush(absl::Seconds(20)));
  EXPECT_THAT(coordinator_.Snapshot().logs[kSecond], ElementsAre("taken"));
  EXPECT_EQ(metrics_.log_lines_dropped.Value(), 1);
}

TEST_F(LogShipperTest, EndsWhileTheCoordinatorIsAway) {
  coordinator_.StopServing();
  LogShipper shipper(coordinator_.Channel(), Options(), &metrics_);
  shipper.SetIncarnation("one");
  Append(shipper, kFirst, 0, 10);
  EXPECT_FALSE(shipper.Flush(absl::Milliseconds(20)));
}

}  // namespace
}  // namespace bert::agent
