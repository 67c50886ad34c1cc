#include "dataloader/corpus/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"

namespace bert::corpus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ShardTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/shard_test-", getpid());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
    path_ = directory_ + "/train-00000.bin";
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  ShardInfo WriteShard(int token_bytes, const std::vector<std::vector<uint32_t>>& documents) {
    auto writer = ShardWriter::Create(path_, token_bytes);
    EXPECT_TRUE(writer.ok()) << writer.status();
    for (const auto& document : documents) EXPECT_TRUE((*writer)->Append(document).ok());
    auto info = (*writer)->Finish();
    EXPECT_TRUE(info.ok()) << info.status();
    return *info;
  }

  // The status of opening the shard after `size` bytes at `position` were overwritten.
  absl::Status OpenChanged(size_t position, uint64_t value, size_t size) {
    std::string content = *ReadFile(path_);
    std::memcpy(content.data() + position, &value, size);
    const std::string path = directory_ + "/changed.bin";
    EXPECT_TRUE(WriteFile(path, content).ok());
    return ShardReader::Open(path).status();
  }

  std::string directory_;
  std::string path_;
};

TEST_F(ShardTest, ReadsBackWhatWasWritten) {
  for (const int token_bytes : {2, 4}) {
    const ShardInfo info = WriteShard(token_bytes, {{5, 6, 7}, {65535}, {9, 10}});
    EXPECT_EQ(info.documents, 3);
    EXPECT_EQ(info.tokens, 6);
    EXPECT_EQ(info.digest, DigestFile(path_)->digest);
    const auto shard = ShardReader::Open(path_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    EXPECT_EQ(shard->token_bytes(), token_bytes);
    EXPECT_EQ(static_cast<int64_t>(shard->contents().size()), info.bytes);
    EXPECT_THAT(shard->offsets(), ElementsAre(0, 3, 4, 6));
    std::vector<int32_t> ids(5);
    shard->CopyTokens(1, 5, ids.data());
    EXPECT_THAT(ids, ElementsAre(6, 7, 65535, 9, 10));
    EXPECT_EQ(shard->FindTokenAtLeast(10), 3);
    EXPECT_EQ(shard->FindTokenAtLeast(65536), -1);
    EXPECT_EQ(shard->FindToken(10), 5);
    EXPECT_EQ(shard->FindToken(8), -1);
  }
}

TEST_F(ShardTest, LargeDocumentsCrossTheWriteBuffer) {
  std::vector<uint32_t> document(1 << 20);
  for (size_t i = 0; i < document.size(); ++i) document[i] = static_cast<uint32_t>(i * 7);
  WriteShard(4, {document, {1}, document});
  const auto shard = ShardReader::Open(path_);
  ASSERT_TRUE(shard.ok()) << shard.status();
  std::vector<int32_t> ids(document.size());
  shard->CopyTokens((1 << 20) + 1, 1 << 20, ids.data());
  EXPECT_TRUE(std::equal(ids.begin(), ids.end(), document.begin(),
                         [](int32_t a, uint32_t b) { return static_cast<uint32_t>(a) == b; }));
}

TEST_F(ShardTest, AnEmptyShardIsAShard) {
  WriteShard(2, {});
  const auto shard = ShardReader::Open(path_);
  ASSERT_TRUE(shard.ok()) << shard.status();
  EXPECT_EQ(shard->documents(), 0);
  EXPECT_EQ(shard->tokens(), 0);
}

TEST_F(ShardTest, NothingIsThereBeforeFinish) {
  auto writer = ShardWriter::Create(path_, 2);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append({1, 2}).ok());
  EXPECT_FALSE(std::filesystem::exists(path_));
  writer->reset();
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(ShardTest, GoesOnWhereItWasSynced) {
  const ShardInfo expected = WriteShard(2, {{5, 6, 7}, {65535}, {9, 10}});
  const std::string content = *ReadFile(path_);
  for (const bool finished : {false, true}) {
    {
      auto writer = ShardWriter::Create(path_, 2);
      ASSERT_TRUE((*writer)->Append({5, 6, 7}).ok());
      ASSERT_TRUE((*writer)->Append({65535}).ok());
      ASSERT_TRUE((*writer)->Sync().ok());
      ASSERT_TRUE((*writer)->Append({1, 2, 3, 4}).ok());
      if (finished) {
        ASSERT_TRUE((*writer)->Finish().ok());
      }
    }
    auto writer = ShardWriter::Resume(path_, 2, 2, 4);
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_EQ((*writer)->documents(), 2);
    ASSERT_TRUE((*writer)->Append({9, 10}).ok());
    const auto info = (*writer)->Finish();
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(*info, expected);
    EXPECT_EQ(*ReadFile(path_), content) << finished;
    EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
    EXPECT_FALSE(std::filesystem::exists(path_ + ".offsets"));
  }
}

TEST_F(ShardTest, DoesNotGoOnWithAnotherShard) {
  EXPECT_FALSE(ShardWriter::Resume(path_, 2, 1, 3).ok());
  WriteShard(2, {{5, 6, 7}, {8}});
  EXPECT_TRUE(absl::IsDataLoss(ShardWriter::Resume(path_, 2, 1, 2).status()));
  EXPECT_TRUE(absl::IsDataLoss(ShardWriter::Resume(path_, 4, 1, 3).status()));
  EXPECT_TRUE(absl::IsDataLoss(ShardWriter::Resume(path_, 2, 3, 5).status()));
  ASSERT_TRUE(ShardWriter::Resume(path_, 2, 2, 4).ok());
  EXPECT_TRUE(absl::IsDataLoss(ShardWriter::Resume(path_, 2, 2, 3).status())) << "the offsets tell";
  EXPECT_TRUE(absl::IsDataLoss(ShardWriter::Resume(path_, 2, 3, 5).status()));
}

TEST_F(ShardTest, RefusesWhatItCannotStore) {
  auto writer = ShardWriter::Create(path_, 2);
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ((*writer)->Append({1, 65536}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE((*writer)->Append({1}).ok());
  EXPECT_FALSE((*writer)->Finish().ok());
  EXPECT_EQ(ShardWriter::Create(directory_ + "/no/such/folder.bin", 2).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ShardTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ShardReader::Open(path_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ShardTest, DamageIsNamedByFileAndByte) {
  WriteShard(2, {{5, 6, 7}, {8}, {9, 10}});  // 64 header, 12 tokens, 4 padding, offsets at 80
  struct Case {
    size_t position;
    uint64_t value;
    size_t size;
    std::string message;
  };
  for (const Case& c :
       {Case{0, 0, 8, "byte 0: "}, Case{8, 9, 4, "byte 8: shard version 9"}, Case{12, 3, 4, "byte 12: 3 bytes a token"},
        Case{16, 1ull << 62, 8, "byte 16: "}, Case{16, 2, 8, "its header says"}, Case{24, ~0ull, 8, "byte 24: "},
        Case{24, 5, 8, "offset"}, Case{32, 72, 8, "byte 32: "}, Case{80, 1, 8, "byte 80: offset of document 0 is 1"},
        Case{88, 4, 8, "byte 96: offset of document 2 is 4"}, Case{88, 99, 8, "byte 88: offset of document 1"},
        Case{104, 5, 8, "byte 104: offset of document 3 is 5"}}) {
    const absl::Status status = OpenChanged(c.position, c.value, c.size);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.position;
    EXPECT_THAT(status.message(), HasSubstr("changed.bin"));
    EXPECT_THAT(status.message(), HasSubstr(c.message));
  }
}

TEST_F(ShardTest, EveryTruncationIsNoticed) {
  WriteShard(2, {{5, 6, 7}, {8}, {9, 10}});
  const std::string content = *ReadFile(path_);
  for (size_t size = 1; size < content.size(); ++size) {
    const std::string path = directory_ + "/short.bin";
    ASSERT_TRUE(WriteFile(path, content.substr(0, size)).ok());
    EXPECT_EQ(ShardReader::Open(path).status().code(), absl::StatusCode::kDataLoss) << size;
  }
}

}  // namespace
}  // namespace bert::corpus
