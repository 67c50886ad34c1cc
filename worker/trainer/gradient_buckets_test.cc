#include "worker/trainer/gradient_buckets.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <mutex>
#include <vector>

#include "worker/trainer/rank_threads.h"

namespace bert::trainer {
namespace {

constexpr int64_t kElements = 1003;

// Thirds, so that sums in another order would differ in their last bits.
at::Tensor GradOf(int rank) { return at::arange(kElements, at::kFloat) / static_cast<double>(3 + rank); }

// The sums of rank 0 after two steps; all ranks must agree. Ranks finish in different portions, the last at once.
at::Tensor SumOver(int world_size, bool overlap) {
  std::mutex mutex;
  std::vector<at::Tensor> sums(static_cast<size_t>(world_size));
  RunRanks(world_size, [&](collective::Collective& group) {
    const at::Tensor grad = GradOf(group.rank());
    GradientBuckets buckets(grad, &group, {.bucket_elements = 100, .overlap = overlap});
    for (int step = 0; step < 2; ++step) {
      grad.copy_(GradOf(group.rank() + step));
      buckets.Start();
      if (group.rank() < world_size - 1) {
        for (int64_t offset = kElements; offset > 0; offset -= 150 + group.rank()) buckets.FinishedFrom(offset);
      }
      buckets.FinishedFrom(0);
      const absl::Status status = buckets.Finish();
      ASSERT_TRUE(status.ok()) << status;
    }
    const std::lock_guard lock(mutex);
    sums[static_cast<size_t>(group.rank())] = grad;
  });
  for (const at::Tensor& sum : sums) EXPECT_TRUE(at::equal(sum, sums[0]));
  return sums[0];
}

TEST(GradientBucketsTest, SumsOverAllRanksAndOverlapChangesNoBit) {
  for (const int world_size : {1, 2, 3, 5}) {
    at::Tensor expected = GradOf(1);
    for (int rank = 1; rank < world_size; ++rank) expected = expected + GradOf(rank + 1);
    const at::Tensor sum = SumOver(world_size, /*overlap=*/true);
    EXPECT_LT((sum - expected).abs().max().item<double>(), 1e-3) << world_size;
    EXPECT_TRUE(at::equal(sum, SumOver(world_size, /*overlap=*/false))) << world_size;
  }
}

TEST(GradientBucketsTest, ARankThatLeavesInTheMiddleOfAStepEndsTheOthers) {
  RunRanks(2, [](collective::Collective& group) {
    const at::Tensor grad = GradOf(group.rank());
    GradientBuckets buckets(grad, &group, {.bucket_elements = 100, .overlap = true});
    buckets.Start();
    buckets.FinishedFrom(500);
    if (group.rank() == 1) return;
    buckets.FinishedFrom(0);
    EXPECT_EQ(buckets.Finish().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(group.Barrier().code(), absl::StatusCode::kUnavailable);
  });
}

}  // namespace
}  // namespace bert::trainer
