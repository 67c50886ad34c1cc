#include "common/digest.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/files.h"

namespace bert {
namespace {

// From the xxHash project's own test vectors: XXH3 of the empty input, seed 0.
constexpr char kEmptyDigest[] = "xxh128:99aa06d3014798d86001c324468d497f";
constexpr uint64_t kEmptyHash = 0x2D06800538D394C2;

TEST(DigestTest, AgreesWithTheReference) {
  EXPECT_EQ(Digest(""), kEmptyDigest);
  EXPECT_EQ(StableHash(""), kEmptyHash);
}

TEST(DigestTest, PiecesGiveTheDigestOfTheWhole) {
  const std::string text(3'000'000, 'x');
  Digester digester;
  for (size_t at = 0; at < text.size(); at += 999) digester.Update(std::string_view(text).substr(at, 999));
  EXPECT_EQ(digester.Finish(), Digest(text));
  const std::string path = testing::TempDir() + "/digest_test.bin";
  ASSERT_TRUE(WriteFile(path, text).ok());
  const auto file = DigestFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->digest, Digest(text));
  EXPECT_EQ(file->bytes, 3'000'000);
  std::filesystem::remove(path);
}

TEST(DigestTest, MissingFileIsNamed) {
  const auto file = DigestFile("/no/such/file");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(file.status().message().find("/no/such/file"), std::string::npos);
}

}  // namespace
}  // namespace bert
