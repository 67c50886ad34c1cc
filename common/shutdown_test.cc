#include "common/shutdown.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace bert {
namespace {

TEST(ShutdownSignalTest, WaitsForTheSignal) {
  ShutdownSignal shutdown;
  EXPECT_FALSE(shutdown.Requested());
  EXPECT_FALSE(shutdown.WaitFor(absl::ZeroDuration()));
  int calls = 0;
  shutdown.OnRequest([&] { ++calls; });
  kill(getpid(), SIGTERM);
  shutdown.Wait();
  EXPECT_EQ(shutdown.Received(), SIGTERM);
  // Runs at once now, so the first one has been taken up too.
  shutdown.OnRequest([&] { calls += 10; });
  shutdown.Request(SIGINT);
  EXPECT_EQ(shutdown.Received(), SIGTERM);
}

TEST(ShutdownSignalTest, EndsWithoutASignal) {
  ShutdownSignal shutdown;
  EXPECT_EQ(shutdown.Received(), 0);
}

}  // namespace
}  // namespace bert
