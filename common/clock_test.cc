#include "common/clock.h"

#include <gtest/gtest.h>

namespace bert {
namespace {

TEST(ClockTest, SimulatedTimeMovesOnlyWhenTold) {
  SimulatedClock clock(absl::FromUnixSeconds(1000));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(1000));
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(1005));
  EXPECT_EQ(clock.Monotonic(), absl::Seconds(5));
}

TEST(ClockTest, RealMonotonicTimeDoesNotGoBack) {
  const absl::Duration first = RealClock().Monotonic();
  EXPECT_GE(RealClock().Monotonic(), first);
}

TEST(ClockDeathTest, SimulatedTimeCannotGoBack) {
  SimulatedClock clock(absl::UnixEpoch());
  EXPECT_DEATH(clock.Advance(-absl::Seconds(1)), "broken invariant");
}

}  // namespace
}  // namespace bert
