#include "dataloader/service/dataset_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "dataloader/corpus/synthetic_dataset.h"

namespace bert::loader {
namespace {

using testing::HasSubstr;

class DatasetCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(MakeDirectories(root_).ok());
    ASSERT_TRUE(corpus::WriteSyntheticDataset(root_ + "/novels", {}).ok());
    cache_ = *DatasetCache::Create(root_, 2);
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(base_).ok()); }

  const std::string base_ = absl::StrCat(testing::TempDir(), "/dataset_cache_test-", getpid());
  const std::string root_ = base_ + "/root";
  std::unique_ptr<DatasetCache> cache_;
};

TEST_F(DatasetCacheTest, OpensOnceForAll) {
  std::vector<std::shared_ptr<ServedDataset>> served(4);
  std::vector<std::thread> threads;
  for (auto& slot : served) {
    threads.emplace_back([this, &slot] { slot = *cache_->Get("novels", ""); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& slot : served) EXPECT_EQ(slot, served[0]);
  EXPECT_EQ(*cache_->Get("novels", served[0]->dataset().digest()), served[0]);
  EXPECT_EQ(*cache_->Get("./novels/", ""), served[0]);
  const auto rows = served[0]->Rows(corpus::SplitKind::kTrain, 64, sampling::RowFormat::kPacked);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(*served[0]->Rows(corpus::SplitKind::kTrain, 64, sampling::RowFormat::kPacked), *rows);
  EXPECT_NE(*served[0]->Rows(corpus::SplitKind::kTrain, 65, sampling::RowFormat::kPacked), *rows);
  EXPECT_NE(*served[0]->Rows(corpus::SplitKind::kValidation, 64, sampling::RowFormat::kPacked), *rows);
}

TEST_F(DatasetCacheTest, KeepsTheLatestUsed) {
  for (const char* name : {"a", "b"})
    ASSERT_TRUE(corpus::WriteSyntheticDataset(absl::StrCat(root_, "/", name), {}).ok());
  const auto novels = *cache_->Get("novels", "");
  ASSERT_TRUE(cache_->Get("a", "").ok());
  EXPECT_EQ(*cache_->Get("novels", ""), novels);
  ASSERT_TRUE(cache_->Get("b", "").ok());  // a goes
  EXPECT_EQ(*cache_->Get("novels", ""), novels);
  EXPECT_EQ(cache_->size(), 2);
}

TEST_F(DatasetCacheTest, ANewBuildIsNoticed) {
  const auto old = *cache_->Get("novels", "");
  ASSERT_TRUE(corpus::WriteSyntheticDataset(base_ + "/new", {.seed = 2}).ok());
  ASSERT_TRUE(RenameDurably(root_ + "/novels", base_ + "/old").ok());
  ASSERT_TRUE(RenameDurably(base_ + "/new", root_ + "/novels").ok());
  const auto refused = cache_->Get("novels", old->dataset().digest());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr(old->dataset().digest()));
  const auto now = cache_->Get("novels", "");
  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_NE((*now)->dataset().digest(), old->dataset().digest());
}

TEST_F(DatasetCacheTest, NothingOutsideTheRootIsServed) {
  ASSERT_TRUE(corpus::WriteSyntheticDataset(base_ + "/secret", {}).ok());
  ASSERT_TRUE(corpus::WriteSyntheticDataset(base_ + "/root2", {}).ok());
  std::filesystem::create_directory_symlink(base_ + "/secret", root_ + "/link");
  std::filesystem::create_directory_symlink(root_ + "/novels", root_ + "/inner");
  for (const std::string& name :
       {std::string("../secret"), std::string("novels/../../secret"), base_ + "/secret", std::string("link"),
        std::string(""), std::string("."), std::string("../root2"), std::string("novels\0x", 8)}) {
    EXPECT_EQ(cache_->Get(name, "").status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(cache_->Get("inner", "").ok());
}

TEST_F(DatasetCacheTest, WhatIsMissingOrDamagedIsNamedAndTriedAgain) {
  EXPECT_EQ(cache_->Get("poems", "").status().code(), absl::StatusCode::kNotFound);
  const std::string shard = root_ + "/novels/shards/train-00000.bin";
  const std::string good = *ReadFile(shard);
  std::string bad = good;
  bad[70] = static_cast<char>(bad[70] ^ 4);
  ASSERT_TRUE(WriteFile(shard, bad).ok());
  const auto damaged = cache_->Get("novels", "");
  EXPECT_EQ(damaged.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(damaged.status().message(), HasSubstr("train-00000.bin"));
  EXPECT_EQ(cache_->size(), 0);
  ASSERT_TRUE(WriteFile(shard, good).ok());
  EXPECT_TRUE(cache_->Get("novels", "").ok());
  ASSERT_EQ(unlink((root_ + "/novels/manifest.json").c_str()), 0);
  EXPECT_EQ(cache_->Get("novels", "").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DatasetCacheTest, RowIndexesAreKeptInFiles) {
  const std::string directory = base_ + "/index";
  const auto rows_of = [&](sampling::RowFormat format) {
    const auto cache = *DatasetCache::Create(root_, 2, directory);
    return *(*cache->Get("novels", ""))->Rows(corpus::SplitKind::kTrain, 64, format);
  };
  const auto built = rows_of(sampling::RowFormat::kPacked);
  const std::string path = absl::StrCat(
      directory, "/",
      sampling::RowIndex::FileName(built->dataset(), corpus::SplitKind::kTrain, 64, sampling::RowFormat::kPacked));
  const std::string content = *ReadFile(path);
  EXPECT_EQ(content, built->image());
  // It is taken as it is, not written again.
  struct stat first = {};
  ASSERT_EQ(stat(path.c_str(), &first), 0);
  EXPECT_EQ(rows_of(sampling::RowFormat::kPacked)->image(), content);
  struct stat again = {};
  ASSERT_EQ(stat(path.c_str(), &again), 0);
  EXPECT_EQ(first.st_ino, again.st_ino);
  // A damaged one is replaced.
  std::string bad = content;
  bad[100] = static_cast<char>(bad[100] ^ 1);
  ASSERT_TRUE(WriteFileDurably(path, bad).ok());
  EXPECT_EQ(rows_of(sampling::RowFormat::kPacked)->image(), content);
  EXPECT_EQ(*ReadFile(path), content);
  // One that needs no index has no file.
  EXPECT_GT(rows_of(sampling::RowFormat::kTruncatePad)->rows(), 0);
  EXPECT_GT(rows_of(sampling::RowFormat::kSentencePair)->rows(), 0);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 2);
}

TEST_F(DatasetCacheTest, WithoutAWritableIndexDirectoryRowsAreServedAllTheSame) {
  const auto cache = *DatasetCache::Create(root_, 2, root_ + "/novels/manifest.json/index");
  const auto rows = (*cache->Get("novels", ""))->Rows(corpus::SplitKind::kTrain, 64, sampling::RowFormat::kPacked);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_GT((*rows)->rows(), 0);
}

TEST_F(DatasetCacheTest, DamageThatComesLaterIsFoundAndRemembered) {
  const auto served = *cache_->Get("novels", "");
  const auto go_on = [](size_t) { return true; };
  EXPECT_TRUE(served->VerifyShards(1000, go_on).ok());
  EXPECT_TRUE(served->damage().ok());
  EXPECT_THAT(cache_->Opened(), testing::ElementsAre(served));
  const std::string shard = root_ + "/novels/shards/validation-00000.bin";
  const std::string good = *ReadFile(shard);
  std::string bad = good;
  bad[70] = static_cast<char>(bad[70] ^ 4);
  ASSERT_TRUE(WriteFile(shard, bad).ok());  // In place: the mapping sees it.
  // Broken off, it says nothing.
  EXPECT_TRUE(served->VerifyShards(1000, [](size_t) { return false; }).ok());
  const absl::Status damaged = served->VerifyShards(1000, go_on);
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(damaged.message(), HasSubstr("root/novels/shards/validation-00000.bin: damaged"));
  EXPECT_EQ(served->damage(), damaged);
  EXPECT_EQ(cache_->Get("novels", "").status(), damaged);
  ASSERT_TRUE(WriteFileDurably(shard, good).ok());
  const auto repaired = cache_->Get("novels", "");
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_NE(*repaired, served);
  EXPECT_TRUE((*repaired)->damage().ok());
}

TEST_F(DatasetCacheTest, ARootMustBeThere) {
  EXPECT_EQ(DatasetCache::Create(base_ + "/none", 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(DatasetCache::Create(root_ + "/novels/manifest.json", 1).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace bert::loader
