#include "coordinator/failure.h"

#include <gtest/gtest.h>

namespace bert::coordinator {
namespace {

TEST(FailureTest, CausesAreInWords) {
  EXPECT_EQ(CauseInWords({.rank = 1, .node = "a", .signal = 9}), "rank 1 on node a was killed by signal 9 (SIGKILL)");
  EXPECT_EQ(CauseInWords({.rank = 0, .node = "b", .exit_code = 1, .log_tail = {"x", "no space left"}}),
            "rank 0 on node b exited with code 1: no space left");
  EXPECT_EQ(CauseInWords({.rank = 0, .node = "b", .exit_code = 3}),
            "rank 0 on node b exited with code 3 (it lost a peer)");
  EXPECT_EQ(CauseInWords({.rank = 2, .node = "c", .gone = "no heartbeat for 3s"}),
            "rank 2 on node c is gone: no heartbeat for 3s");
  EXPECT_EQ(CauseInWords({.rank = 0, .node = "b", .exit_code = 127, .detail = "cannot start x"}),
            "rank 0 on node b exited with code 127 (cannot start x)");
  EXPECT_LT(CauseInWords({.rank = 0, .node = "b", .exit_code = 127, .detail = std::string(100'000, 'x')}).size(), 400);
}

TEST(FailureTest, ThePeerThatWasLostIsTheCause) {
  const std::vector<RankFailure> failures = {{.rank = 0, .node = "a", .exit_code = kExitPeerLost},
                                             {.rank = 2, .node = "a", .exit_code = 1},
                                             {.rank = 1, .node = "a", .signal = 9}};
  EXPECT_EQ(PrimaryFailure(failures).rank, 1);
  EXPECT_EQ(PrimaryFailure({failures[0], failures[1]}).rank, 2);
  EXPECT_EQ(PrimaryFailure({failures[0]}).rank, 0);
  EXPECT_TRUE(IsSecondary(failures[0]));
  EXPECT_FALSE(IsSecondary(failures[2]));
}

TEST(FailureTest, BackoffDoublesUpToAMinute) {
  EXPECT_EQ(RestartBackoff(1), absl::Seconds(1));
  EXPECT_EQ(RestartBackoff(2), absl::Seconds(2));
  EXPECT_EQ(RestartBackoff(4), absl::Seconds(8));
  EXPECT_EQ(RestartBackoff(7), absl::Minutes(1));
  EXPECT_EQ(RestartBackoff(1000), absl::Minutes(1));
}

TEST(FailureTest, TheTailIsBounded) {
  RankFailure failure{.rank = 0, .node = "a", .exit_code = 1};
  for (int i = 0; i < 1000; ++i) failure.log_tail.push_back(std::to_string(i));
  const v1::Failure proto = ToProto(failure, 2, 1'500'000);
  EXPECT_LE(proto.log_tail_size(), 100);
  EXPECT_EQ(proto.log_tail(proto.log_tail_size() - 1), "999");
  EXPECT_EQ(proto.time().seconds(), 1);
  EXPECT_EQ(proto.time().nanos(), 500'000'000);
}

}  // namespace
}  // namespace bert::coordinator
