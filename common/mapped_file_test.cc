#include "common/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"

namespace bert {
namespace {

constexpr size_t kBytes = size_t{1} << 20;

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "mapped_file_", getpid());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  std::string Write(const std::string& name, std::string_view content) {
    std::string path = directory_ + "/" + name;
    EXPECT_TRUE(WriteFile(path, content).ok());
    return path;
  }

  std::string directory_;
};

// Reads every byte, one at a time.
size_t CountOf(std::string_view bytes, char wanted) {
  size_t count = 0;
  for (const volatile char& byte : bytes) count += byte == wanted ? 1 : 0;
  return count;
}

TEST_F(MappedFileTest, MapsWholeFiles) {
  EXPECT_EQ(MappedFile::Open(Write("empty", ""))->bytes(), "");
  for (const PageLoss loss : {PageLoss::kEndsProcess, PageLoss::kReadsZeros}) {
    auto file = MappedFile::Open(Write("file", "mapped"), loss);
    ASSERT_TRUE(file.ok()) << file.status();
    const MappedFile moved = std::move(*file);
    EXPECT_EQ(moved.bytes(), "mapped");
    EXPECT_FALSE(moved.lost());
  }
  EXPECT_EQ(MappedFile::Open(directory_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open(directory_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(MappedFileTest, WhatIsCutOffReadsAsZeros) {
  const std::string path = Write("cut", std::string(kBytes, 'x'));
  const std::string other_path = Write("whole", std::string(kBytes, 'y'));
  const auto other = MappedFile::Open(other_path, PageLoss::kReadsZeros);
  {
    const auto file = MappedFile::Open(path, PageLoss::kReadsZeros);
    ASSERT_TRUE(file.ok() && other.ok());
    ASSERT_EQ(CountOf(file->bytes(), 'x'), kBytes);
    EXPECT_FALSE(file->lost());
    ASSERT_EQ(truncate(path.c_str(), kBytes / 2), 0);
    // All at once, each meeting pages that are not there.
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
      readers.emplace_back([&] {
        EXPECT_EQ(CountOf(file->bytes(), 'x'), kBytes / 2);
        EXPECT_EQ(CountOf(file->bytes(), '\0'), kBytes / 2);
        EXPECT_TRUE(file->lost());
      });
    }
    for (std::thread& reader : readers) reader.join();
    EXPECT_TRUE(MappedFile::AnyLost());
    EXPECT_FALSE(other->lost());
    EXPECT_EQ(CountOf(other->bytes(), 'y'), kBytes);
  }
  // The next file at that place is none of the lost one's business.
  const auto again = MappedFile::Open(Write("cut", std::string(kBytes, 'z')), PageLoss::kReadsZeros);
  EXPECT_EQ(CountOf(again->bytes(), 'z'), kBytes);
  EXPECT_FALSE(again->lost());
}

using MappedFileDeathTest = MappedFileTest;

TEST_F(MappedFileDeathTest, OtherFaultsEndTheProcessAsBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string path = Write("cut", std::string(kBytes, 'x'));
  EXPECT_DEATH(
      {
        const auto watched = MappedFile::Open(Write("watched", "x"), PageLoss::kReadsZeros);
        const auto file = MappedFile::Open(path);
        if (truncate(path.c_str(), 0) == 0) CountOf(file->bytes(), 'x');
      },
      "");
}

}  // namespace
}  // namespace bert
