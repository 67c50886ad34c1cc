#include "worker/record/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace bert::record {
namespace {

// RFC 3720, section B.4.
TEST(Crc32cTest, GivesTheStandardsExamples) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending.push_back(c);
  EXPECT_EQ(Crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

TEST(Crc32cTest, MaskingRotatesAndAdds) {
  const uint32_t crc = Crc32c("123456789");
  EXPECT_EQ(MaskedCrc32c("123456789"), static_cast<uint32_t>(((crc >> 15) | (crc << 17)) + 0xa282ead8u));
  EXPECT_EQ(Crc32c(""), 0u);
}

}  // namespace
}  // namespace bert::record
