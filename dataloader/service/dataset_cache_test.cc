#include "dataloader/service/dataset_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
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
  const auto rows = served[0]->Rows(corpus::SplitKind::kTrain, 64);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(*served[0]->Rows(corpus::SplitKind::kTrain, 64), *rows);
  EXPECT_NE(*served[0]->Rows(corpus::SplitKind::kTrain, 65), *rows);
  EXPECT_NE(*served[0]->Rows(corpus::SplitKind::kValidation, 64), *rows);
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

TEST_F(DatasetCacheTest, ARootMustBeThere) {
  EXPECT_EQ(DatasetCache::Create(base_ + "/none", 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(DatasetCache::Create(root_ + "/novels/manifest.json", 1).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace bert::loader
