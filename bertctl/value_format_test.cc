#include "bertctl/value_format.h"

#include <gmock/gmock.h>

#include <limits>

namespace bert::ctl {
namespace {

TEST(ValueFormatTest, Ages) {
  EXPECT_EQ(FormatAge(absl::Seconds(-5)), "0s");
  EXPECT_EQ(FormatAge(absl::Seconds(59.9)), "59s");
  EXPECT_EQ(FormatAge(absl::Seconds(192)), "3m12s");
  EXPECT_EQ(FormatAge(absl::Seconds(3600)), "1h00m");
  EXPECT_EQ(FormatAge(absl::Hours(25)), "1d01h");
  EXPECT_EQ(FormatAge(google::protobuf::Timestamp(), absl::FromUnixSeconds(1)), "-");
}

TEST(ValueFormatTest, Counts) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(-123456), "-123,456");
  EXPECT_EQ(FormatCount(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
  EXPECT_EQ(FormatRate(8342.6), "8,343");
  EXPECT_EQ(FormatRate(std::numeric_limits<double>::infinity()), "-");
}

TEST(ValueFormatTest, Bytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1234), "1.2 kB");
  EXPECT_EQ(FormatBytes(999'999), "1.0 MB");
  EXPECT_EQ(FormatBytes(44'100'000), "44.1 MB");
  EXPECT_EQ(FormatBytes(std::numeric_limits<int64_t>::max()), "9223.4 PB");
}

TEST(ValueFormatTest, StatesAndUnknownOnes) {
  EXPECT_EQ(StateName(v1::JOB_STATE_RUNNING), "RUNNING");
  EXPECT_EQ(StateName(static_cast<v1::JobState>(99)), "99");
}

TEST(ValueFormatTest, ControlCharactersAreHarmless) { EXPECT_EQ(Printable("a\x1b[2Jb\tü\r\n"), "a?[2Jb\tü??"); }

}  // namespace
}  // namespace bert::ctl
