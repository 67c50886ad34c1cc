#include "common/shutdown.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <future>

namespace bert {
namespace {

TEST(ShutdownSignalTest, WaitsForTheSignal) {
  // Outlives the receiving thread, in which a second call would throw.
  std::promise<void> called;
  ShutdownSignal shutdown;
  EXPECT_FALSE(shutdown.Requested());
  EXPECT_FALSE(shutdown.WaitFor(absl::ZeroDuration()));
  shutdown.OnRequest([&] { called.set_value(); });
  kill(getpid(), SIGTERM);
  shutdown.Wait();
  ASSERT_EQ(called.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_EQ(shutdown.Received(), SIGTERM);
  // Only the first signal counts.
  shutdown.Request(SIGINT);
  EXPECT_EQ(shutdown.Received(), SIGTERM);
}

TEST(ShutdownSignalTest, ACallbackThatComesLateRunsAtOnce) {
  ShutdownSignal shutdown;
  shutdown.Request(SIGINT);
  bool called = false;
  shutdown.OnRequest([&] { called = true; });
  EXPECT_TRUE(called);
}

TEST(ShutdownSignalTest, EndsWithoutASignal) {
  ShutdownSignal shutdown;
  EXPECT_EQ(shutdown.Received(), 0);
}

}  // namespace
}  // namespace bert
