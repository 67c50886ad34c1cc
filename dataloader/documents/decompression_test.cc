#include "dataloader/documents/decompression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "dataloader/documents/test_corpus.h"

namespace bert::documents {
namespace {

using ::testing::HasSubstr;

// Gives its bytes in pieces of `piece` at most.
class MemorySource : public ByteSource {
 public:
  MemorySource(std::string_view bytes, size_t piece) : rest_(bytes), piece_(piece) {}

  absl::StatusOr<size_t> Read(char* out, size_t size) override {
    const size_t count = std::min({size, piece_, rest_.size()});
    std::memcpy(out, rest_.data(), count);
    rest_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view rest_;
  const size_t piece_;
};

absl::StatusOr<std::string> Unpack(Compression compression, std::string_view packed, size_t piece = 1 << 20) {
  MemorySource source(packed, piece);
  const std::unique_ptr<ByteSource> unpacked = Decompress(compression, &source);
  std::string out;
  char buffer[4096];
  while (true) {
    const absl::StatusOr<size_t> got = unpacked->Read(buffer, sizeof(buffer));
    if (!got.ok()) return got.status();
    if (*got == 0) return out;
    out.append(buffer, *got);
  }
}

std::string Words(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes) text += std::string(1 + random() % 7, static_cast<char>('a' + random() % 20)) + " ";
  return text;
}

class DecompressionTest : public ::testing::TestWithParam<Compression> {};

TEST_P(DecompressionTest, GivesWhatWasPacked) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{5000}, size_t{3'000'000}}) {
    const std::string text = Words(bytes, 1);
    const auto unpacked = Unpack(GetParam(), Pack(GetParam(), text));
    ASSERT_TRUE(unpacked.ok()) << unpacked.status();
    EXPECT_TRUE(*unpacked == text) << bytes;
  }
}

TEST_P(DecompressionTest, SeveralStreamsAreOne) {
  const std::string first = Words(10'000, 1);
  const std::string second = Words(20'000, 2);
  const std::string packed = Pack(GetParam(), first) + Pack(GetParam(), second);
  for (const size_t piece : {size_t{1}, size_t{7}, packed.size()}) {
    const auto unpacked = Unpack(GetParam(), packed, piece);
    ASSERT_TRUE(unpacked.ok()) << unpacked.status();
    EXPECT_TRUE(*unpacked == first + second) << piece;
  }
}

TEST_P(DecompressionTest, EveryPrefixIsCutOff) {
  const std::string packed = Pack(GetParam(), Words(600, 3));
  for (size_t size = 0; size < packed.size(); ++size) {
    const auto unpacked = Unpack(GetParam(), packed.substr(0, size));
    ASSERT_TRUE(absl::IsDataLoss(unpacked.status())) << size << " of " << packed.size() << " bytes";
    ASSERT_THAT(std::string(unpacked.status().message()), HasSubstr("cut off")) << size;
  }
}

TEST_P(DecompressionTest, AFlippedBitIsFoundOrDoesNotMatter) {
  const std::string text = Words(600, 4);
  const std::string packed = Pack(GetParam(), text);
  size_t found = 0;
  for (size_t bit = 0; bit < 8 * packed.size(); ++bit) {
    std::string damaged = packed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const auto unpacked = Unpack(GetParam(), damaged);
    if (unpacked.ok()) {
      ASSERT_TRUE(*unpacked == text) << "bit " << bit;  // A time or a name in a header.
    } else {
      ASSERT_TRUE(absl::IsDataLoss(unpacked.status())) << unpacked.status();
      ++found;
    }
  }
  EXPECT_GT(found, 7 * packed.size());
}

TEST_P(DecompressionTest, WhatIsNoStreamIsDamaged) {
  EXPECT_TRUE(absl::IsDataLoss(Unpack(GetParam(), "It is a truth universally acknowledged").status()));
}

INSTANTIATE_TEST_SUITE_P(Formats, DecompressionTest,
                         ::testing::Values(Compression::kGzip, Compression::kZstd, Compression::kXz),
                         [](const auto& param) { return std::string(CompressionName(param.param)); });

}  // namespace
}  // namespace bert::documents
