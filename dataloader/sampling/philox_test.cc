#include "dataloader/sampling/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace bert::sampling {
namespace {

// The known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, 0), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxStreamTest, StreamsDifferInEveryKey) {
  std::set<uint64_t> firsts;
  for (const uint64_t seed : {1, 2}) {
    for (const uint64_t epoch : {0, 1}) {
      for (const uint64_t row : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
        for (const PhiloxUse use : {PhiloxUse::kMasking, PhiloxUse::kOrder}) {
          PhiloxStream stream(seed, epoch, row, use);
          const uint64_t high = stream.Next();
          firsts.insert(high << 32 | stream.Next());
        }
      }
    }
  }
  EXPECT_EQ(firsts.size(), 24u);
}

TEST(PhiloxStreamTest, BelowIsUniform) {
  PhiloxStream stream(7, 0, 0, PhiloxUse::kMasking);
  int counts[10] = {};
  for (int i = 0; i < 100'000; ++i) ++counts[stream.Below(10)];
  // Standard deviation 95; five of them.
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 475);
}

}  // namespace
}  // namespace bert::sampling
