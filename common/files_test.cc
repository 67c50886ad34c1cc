#include "common/files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

namespace bert {
namespace {

namespace fs = std::filesystem;

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/files_test-" + std::to_string(getpid());
    ASSERT_TRUE(MakeDirectories(directory_ + "/a/b").ok());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  std::string directory_;
};

TEST_F(FilesTest, WritesReplaceWholeFiles) {
  const std::string path = directory_ + "/a/file";
  ASSERT_TRUE(WriteFileDurably(path, "one").ok());
  ASSERT_TRUE(WriteFileDurably(path, "second").ok());
  EXPECT_EQ(ReadFile(path).value(), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ + "/a"), fs::directory_iterator()), 2);
}

// What a full disk does, through the limit on file sizes: in a child, since the limit is the process's.
TEST_F(FilesTest, FailedWriteLeavesTheOldFileAndNoOther) {
  const std::string path = directory_ + "/a/file";
  ASSERT_TRUE(WriteFileDurably(path, "old").ok());
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const absl::Status status = WriteFileDurably(path, std::string(100'000, 'x'));
    _exit(status.code() == absl::StatusCode::kResourceExhausted ? 0 : 1);
  }
  int outcome = -1;
  ASSERT_EQ(waitpid(child, &outcome, 0), child);
  EXPECT_EQ(outcome, 0);
  EXPECT_EQ(ReadFile(path).value(), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ + "/a"), fs::directory_iterator()), 2);
}

TEST_F(FilesTest, ErrorsNameThePath) {
  EXPECT_EQ(ReadFile(directory_ + "/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(ReadFile(directory_ + "/none").status().message().find("/none"), std::string::npos);
  EXPECT_EQ(WriteFileDurably(directory_ + "/none/file", "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(FilesTest, RenamesAndRemovesTrees) {
  ASSERT_TRUE(RenameDurably(directory_ + "/a", directory_ + "/c").ok());
  EXPECT_TRUE(fs::exists(directory_ + "/c/b"));
  ASSERT_TRUE(RemoveTree(directory_ + "/c").ok());
  EXPECT_FALSE(fs::exists(directory_ + "/c"));
  EXPECT_TRUE(RemoveTree(directory_ + "/c").ok());
}

}  // namespace
}  // namespace bert
