#include "dataloader/corpus/digest_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <utility>

namespace bert::corpus {
namespace {

TEST(DigestSetTest, KnowsWhatWasInserted) {
  DigestSet digests;
  std::set<std::pair<uint64_t, uint64_t>> expected;
  std::mt19937_64 random(17);
  for (int i = 0; i < 200'000; ++i) {
    // Few enough of the first half that many share it, and whole parts grow.
    const DocumentDigest digest{.first = (random() % 3) << 56 | random() % 300, .second = random() % 300 << 55};
    ASSERT_EQ(digests.Insert(digest), expected.emplace(digest.first, digest.second).second);
    ASSERT_EQ(digests.size(), static_cast<int64_t>(expected.size()));
  }
  EXPECT_GT(expected.size(), 100'000u);
}

TEST(DigestSetTest, ADigestOfZerosIsADigest) {
  DigestSet digests;
  EXPECT_TRUE(digests.Insert({0, 0}));
  EXPECT_FALSE(digests.Insert({0, 0}));
}

TEST(DigestSetTest, TakesTwentyFiveBytesADigest) {
  DigestSet digests;
  std::mt19937_64 random(19);
  for (int64_t count = 1; count <= 1'000'000; ++count) {
    ASSERT_TRUE(digests.Insert({random(), random()}));
    if (count % 9973 == 0) {
      ASSERT_LE(digests.memory_bytes(), 25 * count + 110'000) << count;
    }
  }
}

TEST(DigestSetTest, TextsDifferInBothHalves) {
  const DocumentDigest a = DigestOf("a");
  EXPECT_EQ(a, DigestOf("a"));
  EXPECT_NE(a.first, DigestOf("b").first);
  EXPECT_NE(a.second, DigestOf("b").second);
  EXPECT_NE(a.first, a.second);
}

}  // namespace
}  // namespace bert::corpus
