#include "common/backoff.h"

#include <gtest/gtest.h>

namespace bert {
namespace {

TEST(BackoffTest, GrowsToTheLimitAndStartsAgain) {
  Backoff backoff(absl::Milliseconds(100), absl::Milliseconds(350), /*seed=*/1);
  for (const int expected_ms : {100, 200, 350, 350}) {
    const absl::Duration delay = backoff.Next();
    EXPECT_GE(delay, absl::Milliseconds(expected_ms) / 2);
    EXPECT_LT(delay, absl::Milliseconds(expected_ms));
  }
  backoff.Reset();
  EXPECT_LT(backoff.Next(), absl::Milliseconds(100));
}

}  // namespace
}  // namespace bert
