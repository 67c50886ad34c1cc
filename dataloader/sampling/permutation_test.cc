#include "dataloader/sampling/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace bert::sampling {
namespace {

TEST(PermutationTest, IsABijectionForManySizes) {
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size <= 300; ++size) sizes.push_back(size);
  for (int64_t size : {1023, 1024, 1025, 4095, 65535, 65536, 65537, 100'003}) sizes.push_back(size);
  for (const int64_t size : sizes) {
    for (const uint64_t seed : {0, 42}) {
      const Permutation permutation(size, seed, 3);
      std::vector<char> seen(static_cast<size_t>(size));
      for (int64_t i = 0; i < size; ++i) {
        const int64_t value = permutation(i);
        ASSERT_GE(value, 0);
        ASSERT_LT(value, size);
        ASSERT_EQ(permutation.Inverse(value), i);
        ASSERT_FALSE(seen[static_cast<size_t>(value)]) << "size " << size << " seed " << seed << " index " << i;
        seen[static_cast<size_t>(value)] = 1;
      }
    }
  }
}

TEST(PermutationTest, DependsOnSeedAndEpochOnly) {
  const Permutation a(10'000, 1, 0);
  const Permutation same(10'000, 1, 0);
  const Permutation other_epoch(10'000, 1, 1);
  const Permutation other_seed(10'000, 2, 0);
  const Permutation other_stream(10'000, 1, 0, 1);
  int equal_epoch = 0;
  int equal_seed = 0;
  int equal_stream = 0;
  int fixed = 0;
  for (int64_t i = 0; i < 10'000; ++i) {
    ASSERT_EQ(a(i), same(i));
    equal_epoch += a(i) == other_epoch(i);
    equal_seed += a(i) == other_seed(i);
    equal_stream += a(i) == other_stream(i);
    fixed += a(i) == i;
  }
  // Poisson with mean 1 each.
  EXPECT_LT(equal_epoch, 8);
  EXPECT_LT(equal_seed, 8);
  EXPECT_LT(equal_stream, 8);
  EXPECT_LT(fixed, 8);
}

// Over many seeds every value comes equally often to every place.
TEST(PermutationTest, SmallSizesAreUniform) {
  constexpr int kSize = 6;
  constexpr int kSeeds = 12'000;
  int counts[kSize][kSize] = {};
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Permutation permutation(kSize, static_cast<uint64_t>(seed), 0);
    for (int i = 0; i < kSize; ++i) ++counts[i][permutation(i)];
  }
  // Mean 2000, standard deviation 41; five of them.
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, kSeeds / kSize, 205);
  }
}

// Neighbours do not stay neighbours: the rank correlation of index and value is that of chance.
TEST(PermutationTest, DoesNotKeepOrder) {
  constexpr int64_t kSize = 50'000;
  const Permutation permutation(kSize, 9, 0);
  double sum = 0;
  for (int64_t i = 0; i + 1 < kSize; ++i) {
    sum +=
        (static_cast<double>(permutation(i)) / kSize - 0.5) * (static_cast<double>(permutation(i + 1)) / kSize - 0.5);
  }
  // Each product has standard deviation 1/12.
  EXPECT_LT(std::abs(sum), 5.0 / 12 * std::sqrt(kSize));
}

TEST(PermutationTest, LargeSizesStayInside) {
  const int64_t size = (int64_t{1} << 40) + 12'345;
  const Permutation permutation(size, 5, 0);
  for (const int64_t index : {int64_t{0}, int64_t{1}, size / 2, size - 1}) {
    EXPECT_GE(permutation(index), 0);
    EXPECT_LT(permutation(index), size);
  }
}

}  // namespace
}  // namespace bert::sampling
