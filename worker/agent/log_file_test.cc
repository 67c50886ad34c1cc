#include "worker/agent/log_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "common/files.h"

namespace bert::agent {
namespace {

class LogFileTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  const std::string directory_ = absl::StrCat(testing::TempDir(), "/log_file_test.", getpid());
  const std::string path_ = directory_ + "/job-a/1-0.log";
};

TEST_F(LogFileTest, KeepsLines) {
  auto log = LogFile::Open(path_, 1 << 20);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_TRUE((*log)->Append("one").ok());
  EXPECT_TRUE((*log)->Append("").ok());
  EXPECT_EQ(*ReadFile(path_), "one\n\n");
}

TEST_F(LogFileTest, ContinuesAFileThatIsThere) {
  ASSERT_TRUE((*LogFile::Open(path_, 1 << 20))->Append("one").ok());
  ASSERT_TRUE((*LogFile::Open(path_, 1 << 20))->Append("two").ok());
  EXPECT_EQ(*ReadFile(path_), "one\ntwo\n");
}

TEST_F(LogFileTest, StaysBoundedAndKeepsTheNewest) {
  constexpr int64_t kBytesMax = 1000;
  auto log = LogFile::Open(path_, kBytesMax);
  ASSERT_TRUE(log.ok());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE((*log)->Append(absl::StrCat("line ", i)).ok());
    struct stat now = {}, former = {};
    stat(path_.c_str(), &now);
    stat((path_ + ".1").c_str(), &former);
    ASSERT_LE(now.st_size + former.st_size, kBytesMax);
  }
  const std::string content = *ReadFile(path_ + ".1") + *ReadFile(path_);
  EXPECT_TRUE(content.ends_with("line 998\nline 999\n"));
  EXPECT_GT(content.size(), static_cast<size_t>(kBytesMax / 2));
}

TEST_F(LogFileTest, NamesWhatItCannotOpen) {
  ASSERT_TRUE(MakeDirectories(path_).ok());
  const auto log = LogFile::Open(path_, 1000);
  ASSERT_FALSE(log.ok());
  EXPECT_NE(log.status().message().find(path_), std::string::npos) << log.status();
}

TEST_F(LogFileTest, AFullDiskIsAnError) {
  // /dev/full fails every write like a full disk.
  auto log = LogFile::Open("/dev/full", 1000);
  ASSERT_TRUE(log.ok());
  EXPECT_EQ((*log)->Append("x").code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace bert::agent
