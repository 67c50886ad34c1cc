// What goes wrong while a dataset is served: slow readers and damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "dataloader/service/service_fixture.h"

namespace bert::loader {
namespace {

using testing::HasSubstr;

class DataloaderFaultTest : public DataloaderServiceTest {};

// What is sent is counted to the byte, and what waits is bounded whatever a client does.
TEST_F(DataloaderFaultTest, ASlowReaderHoldsLittleAndHoldsNobodyUp) {
  Loader loader(root_);
  LoaderMetrics& metrics = loader.metrics();
  v1::OpenStream open = OpenTrain(0, 0);
  open.set_initial_credits(1);
  Client slow(loader, open);
  ASSERT_TRUE(slow.Read().has_value());
  size_t bytes = 0;
  size_t tokens = 0;
  Client fast(loader, OpenTrain(0, 100));
  const auto responses = fast.ReadAll();
  EXPECT_TRUE(fast.Finish().ok());
  ASSERT_EQ(responses.size(), 100u);
  for (const auto& response : responses) {
    bytes += response.ByteSizeLong();
    tokens += response.token_ids().size() / 2;
  }
  const absl::Time deadline = absl::Now() + kPatience;
  while (metrics.responses_ready.Value() != 2 && absl::Now() < deadline) std::this_thread::yield();
  EXPECT_EQ(metrics.responses_ready.Value(), 2);
  EXPECT_EQ(metrics.responses_queued.Value(), 0);
  bytes += responses[0].ByteSizeLong();
  tokens += responses[0].token_ids().size() / 2;
  EXPECT_EQ(metrics.rows.Value(), 101 * kBatchSize);
  EXPECT_EQ(metrics.bytes.Value(), static_cast<double>(bytes));
  EXPECT_EQ(metrics.tokens.Value(), static_cast<double>(tokens));
  slow.AddCredits(1);
  ASSERT_TRUE(slow.Read().has_value());
  EXPECT_GT(metrics.stalled_by_client.Value(), 0);
  slow.Cancel();
  EXPECT_EQ(slow.Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(loader.service().WaitForOpenStreams(0, kPatience));
  EXPECT_EQ(metrics.responses_ready.Value(), 0);
}

TEST_F(DataloaderFaultTest, ADatasetDamagedWhileServedIsLeft) {
  ASSERT_TRUE(corpus::WriteSyntheticDataset(root_ + "/poems", {.vocab_size = kVocabSize}).ok());
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 0);
  open.set_initial_credits(1);
  Client client(loader, open);
  ASSERT_TRUE(client.Read().has_value());
  loader.service().VerifyDatasets();
  EXPECT_EQ(loader.metrics().datasets_damaged.Value(), 0);
  const std::string shard = root_ + "/novels/shards/train-00001.bin";
  const std::string good = *ReadFile(shard);
  SetByte(shard, 100, static_cast<char>(good[100] ^ 1));
  loader.service().VerifyDatasets();
  EXPECT_EQ(loader.metrics().datasets_damaged.Value(), 1);
  EXPECT_GT(loader.metrics().verified_bytes.Value(), static_cast<double>(good.size()));
  // What had been made before may still come.
  client.AddCredits(1000);
  EXPECT_LE(client.ReadAll().size(), 3u);
  const absl::Status left = client.Finish();
  EXPECT_EQ(left.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(left.message(), HasSubstr("train-00001.bin: damaged"));
  EXPECT_EQ(EndOf(loader, OpenTrain(0, 1)).code(), absl::StatusCode::kDataLoss);
  // The other one is served as before, and this one again once it is repaired.
  open = OpenTrain(0, 1);
  open.set_dataset("poems");
  open.clear_dataset_digest();
  EXPECT_TRUE(EndOf(loader, open).ok());
  ASSERT_TRUE(WriteFileDurably(shard, good).ok());
  EXPECT_TRUE(EndOf(loader, OpenTrain(0, 1)).ok());
}

// Without waiting for a look at the whole dataset, where a row shows it.
TEST_F(DataloaderFaultTest, ATokenThatDoesNotExistIsNeverSent) {
  Loader loader(root_);
  ASSERT_TRUE(EndOf(loader, OpenTrain(0, 1)).ok());
  const std::string shard = root_ + "/novels/shards/train-00000.bin";
  SetByte(shard, 1001, '\x7f');  // The high byte of a token of two.
  const absl::Status status = EndOf(loader, OpenTrain(0, 100));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("train-00000.bin: damaged: row"));
  EXPECT_EQ(EndOf(loader, OpenTrain(0, 1)).code(), absl::StatusCode::kDataLoss);
}

// As by a copy over it, a full disk, or a file system that is gone: where the mapping has no file behind it the process
// would end by a signal.
TEST_F(DataloaderFaultTest, AShardThatIsCutOffIsLeftAndTheOthersAreServed) {
  ASSERT_TRUE(corpus::WriteSyntheticDataset(root_ + "/poems", {.vocab_size = kVocabSize}).ok());
  Loader loader(root_);
  v1::OpenStream poems = OpenTrain(0, 1);
  poems.set_dataset("poems");
  poems.clear_dataset_digest();
  const std::string shard = root_ + "/novels/shards/train-00001.bin";
  const std::string good = *ReadFile(shard);
  const std::vector<v1::RowFormat> formats = {v1::ROW_FORMAT_PACKED, v1::ROW_FORMAT_TRUNCATE_PAD,
                                              v1::ROW_FORMAT_SENTENCE_PAIR};
  for (const v1::RowFormat format : formats) {
    // Nothing of it is left, a part of its tokens, and all but some of its offsets, which pairs do not read.
    std::vector<size_t> sizes = {0, good.size() / 4};
    if (format != v1::ROW_FORMAT_SENTENCE_PAIR) sizes.push_back(good.size() - 100);
    for (const size_t size : sizes) {
      v1::OpenStream open = OpenTrain(0, 1000);
      open.set_rows(format);
      v1::OpenStream first = open;
      first.set_last_step(1);
      ASSERT_TRUE(EndOf(loader, first).ok());
      ASSERT_EQ(truncate(shard.c_str(), static_cast<off_t>(size)), 0);
      const absl::Status left = EndOf(loader, open);
      EXPECT_EQ(left.code(), absl::StatusCode::kDataLoss) << format << " " << size << ": " << left;
      EXPECT_THAT(left.message(),
                  testing::AnyOf(HasSubstr("train-00001.bin: damaged: "), HasSubstr("novels: damaged: ")));
      EXPECT_TRUE(EndOf(loader, poems).ok());
      ASSERT_TRUE(WriteFileDurably(shard, good).ok());
    }
  }
}

TEST_F(DataloaderFaultTest, ARowIndexThatIsCutOffIsMadeAnew) {
  const std::string index_directory = root_ + "/.row-index";
  Loader loader(root_, /*streams_max=*/16, index_directory);
  ASSERT_TRUE(EndOf(loader, OpenTrain(0, 1)).ok());
  for (const auto& entry : std::filesystem::directory_iterator(index_directory)) {
    ASSERT_EQ(truncate(entry.path().c_str(), 0), 0);
  }
  const absl::Status left = EndOf(loader, OpenTrain(0, 1000));
  EXPECT_EQ(left.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(left.message(), HasSubstr("a part of it is gone"));
  EXPECT_TRUE(EndOf(loader, OpenTrain(0, 1000)).ok());
}

}  // namespace
}  // namespace bert::loader
