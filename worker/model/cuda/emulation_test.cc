// Of the emulation itself: what it runs has a known result, and what it forbids it finds.
#include "worker/model/cuda/emulation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

namespace bert::model::cuda {
namespace {

constexpr Grid kGrid = {.blocks = 3, .threads = 96, .shared_bytes = 3 * sizeof(float)};

TEST(EmulationTest, RunsEveryThreadOfEveryBlockOnce) {
  std::vector<int> runs(3 * 96);
  Emulate(
      [&](EmulatedThread& thread) {
        EXPECT_EQ(thread.threads(), 96);
        ++runs[static_cast<size_t>(thread.block() * 96 + thread.index())];
      },
      kGrid);
  EXPECT_EQ(runs, std::vector<int>(3 * 96, 1));
}

TEST(EmulationTest, SumsOverWarpsAndBlocks) {
  for (const Order order : {Order::kAscending, Order::kDescending, Order::kScattered}) {
    const Emulation emulation(order);
    Emulate(
        [&](EmulatedThread& thread) {
          const float lane = static_cast<float>(LaneOf(thread));
          EXPECT_EQ(WarpSum(thread, lane), 496);
          EXPECT_EQ(WarpMax(thread, -lane), 0);
          float* const scratch = static_cast<float*>(thread.shared());
          EXPECT_EQ(BlockSum(thread, static_cast<float>(thread.index()), scratch), 4560);
          EXPECT_EQ(BlockMax(thread, static_cast<float>(thread.index()), scratch), 95);
        },
        kGrid);
  }
}

TEST(EmulationTest, SharedMemoryIsNaNAtFirst) {
  Emulate([](EmulatedThread& thread) { EXPECT_TRUE(std::isnan(static_cast<float*>(thread.shared())[2])); }, kGrid);
}

TEST(EmulationTest, TheOrderShowsAMissingBarrier) {
  std::vector<float> seen;
  for (const Order order : {Order::kAscending, Order::kDescending}) {
    const Emulation emulation(order);
    Emulate(
        [&](EmulatedThread& thread) {
          float* const shared = static_cast<float*>(thread.shared());
          if (thread.index() == 0) shared[0] = 1;
          // A barrier is missing here.
          if (thread.index() == 5) seen.push_back(shared[0]);
        },
        {.blocks = 1, .threads = 32, .shared_bytes = 4});
  }
  EXPECT_EQ(seen[0], 1);
  EXPECT_TRUE(std::isnan(seen[1]));
}

TEST(EmulationDeathTest, FindsLanesThatMissAShuffle) {
  EXPECT_DEATH(Emulate(
                   [](EmulatedThread& thread) {
                     if (thread.index() != 7) thread.Shuffle(1.0f, 1);
                   },
                   kGrid),
               "a shuffle that not all lanes of a warp reach");
}

TEST(EmulationDeathTest, FindsThreadsThatMissABarrier) {
  EXPECT_DEATH(Emulate(
                   [](EmulatedThread& thread) {
                     if (thread.index() != 7) thread.Sync();
                   },
                   kGrid),
               "a barrier that not all threads of a block reach");
}

}  // namespace
}  // namespace bert::model::cuda
