#include "dataloader/corpus/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
#include "dataloader/corpus/synthetic_dataset.h"

namespace bert::corpus {
namespace {

using testing::HasSubstr;

class DatasetTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/dataset_test-", getpid());
    const auto manifest = WriteSyntheticDataset(directory_, options_);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    manifest_ = *manifest;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  void Flip(const std::string& file, size_t position) {
    std::string content = *ReadFile(directory_ + "/" + file);
    content[position] = static_cast<char>(content[position] ^ 1);
    ASSERT_TRUE(WriteFile(directory_ + "/" + file, content).ok());
  }

  const SyntheticOptions options_;
  std::string directory_;
  Manifest manifest_;
};

TEST_F(DatasetTest, OpensWithItsFacts) {
  const auto dataset = Dataset::Open(directory_);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->digest(), manifest_.digest);
  const VocabularyFacts& vocabulary = (*dataset)->vocabulary();
  EXPECT_EQ(vocabulary.vocab_size, 1000);
  EXPECT_EQ(vocabulary.pad_id, 0);
  EXPECT_EQ(vocabulary.unk_id, 1);
  EXPECT_EQ(vocabulary.cls_id, 2);
  EXPECT_EQ(vocabulary.sep_id, 3);
  EXPECT_EQ(vocabulary.mask_id, 4);
  EXPECT_EQ(vocabulary.is_continuation[749], 0);
  EXPECT_EQ(vocabulary.is_continuation[750], 1);
  ASSERT_EQ((*dataset)->tokenizer_files().size(), 2u);
  EXPECT_EQ((*dataset)->tokenizer_files()[0].content, SyntheticVocabulary(1000));
  EXPECT_TRUE(Verify(directory_).ok()) << Verify(directory_);
}

TEST_F(DatasetTest, DocumentsAreNumberedOverShards) {
  const auto dataset = Dataset::Open(directory_);
  ASSERT_TRUE(dataset.ok());
  const SplitView& train = (*dataset)->split(SplitKind::kTrain);
  EXPECT_EQ(train.documents(), 9);
  EXPECT_EQ(train.tokens(), 50 + 300 + 7 + 120 + 1 + 2 + 900 + 64 + 33);
  EXPECT_EQ(train.DocumentBegin(0), 0);
  EXPECT_EQ(train.DocumentBegin(3), 357);
  EXPECT_EQ(train.DocumentBegin(4), 477);
  EXPECT_EQ(train.DocumentBegin(5), 478);
  EXPECT_EQ(train.DocumentBegin(9), train.tokens());
  EXPECT_EQ(train.ShardOfDocument(3), 0);
  EXPECT_EQ(train.ShardOfDocument(4), 1);
  std::vector<int32_t> whole(900);
  std::vector<int32_t> part(10);
  train.CopyTokens(480, 900, whole.data());
  train.CopyTokens(500, 10, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 20));
  EXPECT_EQ((*dataset)->split(SplitKind::kValidation).documents(), 3);
}

TEST_F(DatasetTest, ADamagedShardIsNamed) {
  Flip("shards/train-00001.bin", 100);
  const auto dataset = Dataset::Open(directory_);
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(dataset.status().message(), HasSubstr("shards/train-00001.bin: damaged: digest is "));
  EXPECT_EQ(Verify(directory_), dataset.status());
  EXPECT_TRUE(Dataset::Open(directory_, {.check_contents = false}).ok());
}

TEST_F(DatasetTest, AMissingShardIsDamage) {
  ASSERT_EQ(unlink((directory_ + "/shards/validation-00000.bin").c_str()), 0);
  const auto dataset = Dataset::Open(directory_);
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(dataset.status().message(), HasSubstr("validation-00000.bin"));
}

TEST_F(DatasetTest, AnotherVocabularyIsRefused) {
  ASSERT_TRUE(WriteFile(directory_ + "/tokenizer/vocab.txt", SyntheticVocabulary(1001)).ok());
  const auto dataset = Dataset::Open(directory_);
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(dataset.status().message(), HasSubstr("vocab.txt: the vocabulary does not match the dataset"));
}

TEST_F(DatasetTest, TokenIdsPastTheVocabularyAreRefused) {
  // Digests all agree; only the ids are too large for the vocabulary.
  const std::string vocabulary = SyntheticVocabulary(900);
  ASSERT_TRUE(WriteFile(directory_ + "/tokenizer/vocab.txt", vocabulary).ok());
  manifest_.tokenizer.vocab_size = 900;
  manifest_.tokenizer.files[0].digest = Digest(vocabulary);
  ASSERT_TRUE(WriteManifest(directory_, &manifest_).ok());
  const auto dataset = Dataset::Open(directory_);
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(dataset.status().message(), HasSubstr("the vocabulary has 900 entries"));
}

TEST_F(DatasetTest, ShardsOfAnotherBuildAreRefused) {
  const std::string other = directory_ + "/other";
  ASSERT_TRUE(WriteSyntheticDataset(other, {.train = {{10}, {20}}}).ok());
  ASSERT_TRUE(RenameDurably(other + "/shards/train-00000.bin", directory_ + "/shards/train-00000.bin").ok());
  const auto dataset = Dataset::Open(directory_);
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(dataset.status().message(), HasSubstr("train-00000.bin: has "));
}

TEST_F(DatasetTest, AFolderWithoutManifestIsNoDataset) {
  const auto dataset = Dataset::Open(directory_ + "/shards");
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(dataset.status().message(), HasSubstr("bert-data build"));
}

TEST(VerifyTest, SpecialTokensInTheTextAreRefused) {
  const std::string directory = absl::StrCat(testing::TempDir(), "/verify_test-", getpid());
  auto manifest = WriteSyntheticDataset(directory, {});
  ASSERT_TRUE(manifest.ok());
  auto writer = ShardWriter::Create(directory + "/shards/train-00000.bin", 2);
  ASSERT_TRUE((*writer)->Append({6, 4, 7}).ok());
  auto info = (*writer)->Finish();
  ASSERT_TRUE(info.ok());
  info->file = "shards/train-00000.bin";
  manifest->train = {.documents = 1, .words = 3, .tokens = 3, .shards = {*info}};
  ASSERT_TRUE(WriteManifest(directory, &*manifest).ok());
  EXPECT_TRUE(Dataset::Open(directory).ok());
  const absl::Status status = Verify(directory);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("token 1 is the special token with id 4"));
  ASSERT_TRUE(RemoveTree(directory).ok());
}

TEST(VocabularyTest, MistakesAreNamedByLine) {
  EXPECT_THAT(ParseVocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", "v.txt").status().message(),
              HasSubstr("v.txt: [MASK] is missing"));
  EXPECT_THAT(ParseVocabulary("[PAD]\na\n\nb\n", "v.txt").status().message(), HasSubstr("v.txt:3: an empty line"));
  EXPECT_THAT(ParseVocabulary("[PAD]\na\na\n", "v.txt").status().message(),
              HasSubstr("v.txt:3: 'a' is already in line 2"));
  EXPECT_TRUE(ParseVocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na", "v.txt").ok());
}

}  // namespace
}  // namespace bert::corpus
