#include "dataloader/corpus/staged_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "common/files.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class StagedDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }

  const std::string root_ = ::testing::TempDir() + "/staged_directory_test";
  const std::string place_ = root_ + "/below/place";
};

TEST_F(StagedDirectoryTest, AppearsOnlyAtCommit) {
  auto staged = StagedDirectory::Create(place_ + "/");
  ASSERT_TRUE(staged.ok()) << staged.status();
  ASSERT_TRUE(WriteFile((*staged)->staging_path() + "/file", "content").ok());
  EXPECT_FALSE(fs::exists(place_));
  ASSERT_TRUE((*staged)->Commit().ok());
  EXPECT_EQ(*ReadFile(place_ + "/file"), "content");
  staged->reset();
  EXPECT_TRUE(fs::exists(place_)) << "its owner's end does not take it away again";
  EXPECT_FALSE(fs::exists(place_ + ".partial"));
}

TEST_F(StagedDirectoryTest, WithoutCommitNothingIsLeft) {
  ASSERT_TRUE(StagedDirectory::Create(place_).ok());
  EXPECT_TRUE(fs::is_empty(root_ + "/below"));
}

TEST_F(StagedDirectoryTest, WhatIsKeptIsThereForTheNextOwner) {
  {
    const auto staged = StagedDirectory::Open(place_);
    ASSERT_TRUE(staged.ok()) << staged.status();
    ASSERT_TRUE(WriteFile((*staged)->staging_path() + "/half", "made").ok());
    (*staged)->Keep();
  }
  const auto staged = StagedDirectory::Open(place_);
  ASSERT_TRUE(staged.ok()) << staged.status();
  EXPECT_EQ(*ReadFile((*staged)->staging_path() + "/half"), "made");
  ASSERT_TRUE((*staged)->Clear().ok());
  EXPECT_TRUE(fs::is_empty((*staged)->staging_path()));
}

TEST_F(StagedDirectoryTest, ReplacesWhatWasThere) {
  fs::create_directories(place_ + "/old");
  auto staged = StagedDirectory::Create(place_);
  ASSERT_TRUE(staged.ok()) << staged.status();
  fs::create_directories((*staged)->staging_path() + "/new");
  ASSERT_TRUE((*staged)->Commit().ok());
  EXPECT_TRUE(fs::exists(place_ + "/new"));
  EXPECT_FALSE(fs::exists(place_ + "/old"));
  EXPECT_FALSE(fs::exists(place_ + ".partial"));
}

TEST_F(StagedDirectoryTest, TwoOwnersAtOnceAreRefused) {
  auto first = StagedDirectory::Create(place_);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = StagedDirectory::Create(place_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another process is building"));
  first->reset();
  EXPECT_TRUE(StagedDirectory::Create(place_).ok());
}

TEST_F(StagedDirectoryTest, RemainsOfAKilledOwnerAreClearedAway) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto staged = StagedDirectory::Create(place_);
    const bool written = staged.ok() && WriteFile((*staged)->staging_path() + "/half", "made").ok();
    if (!written) _exit(1);
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs::exists(place_));
  EXPECT_TRUE(fs::exists(place_ + ".partial/half"));
  const auto staged = StagedDirectory::Create(place_);
  ASSERT_TRUE(staged.ok()) << staged.status();
  EXPECT_TRUE(fs::is_empty((*staged)->staging_path()));
}

TEST_F(StagedDirectoryTest, RefusesNamesThatAreNone) {
  EXPECT_TRUE(absl::IsInvalidArgument(StagedDirectory::Create("/").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(StagedDirectory::Create(".").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(StagedDirectory::Create("").status()));
}

}  // namespace
}  // namespace bert::corpus
