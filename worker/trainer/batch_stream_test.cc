#include "worker/trainer/batch_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/rpc/credentials.h"
#include "common/rpc/server.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/service/dataloader_service.h"
#include "worker/trainer/dataset_client.h"

namespace bert::trainer {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kVocabSize = 1000;
constexpr int32_t kSeqLen = 64;
constexpr absl::Duration kPatience = absl::Seconds(60);

CredentialFlags Insecure() {
  CredentialFlags credentials;
  credentials.insecure = true;
  return credentials;
}

std::unique_ptr<RpcServer> Serve(grpc::Service* service, const std::string& listen = "127.0.0.1:0") {
  return *RpcServer::Start({.listen = listen,
                            .credentials = Insecure(),
                            .configure = [=](grpc::ServerBuilder& builder) { builder.RegisterService(service); }});
}

// A real loader on a port of its own.
class Loader {
 public:
  explicit Loader(const std::string& data_root, const std::string& listen = "127.0.0.1:0")
      : service_(*loader::DataloaderService::Create({.data_root = data_root}, &metrics_, &RealClock())),
        server_(Serve(service_.get(), listen)) {}
  ~Loader() { Stop(); }

  const std::string& address() const { return server_->address(); }
  loader::DataloaderService& service() { return *service_; }
  void Stop() {
    service_->StopStreams();
    server_->Stop(absl::ZeroDuration());
  }

 private:
  loader::LoaderMetrics metrics_;
  std::unique_ptr<loader::DataloaderService> service_;
  std::unique_ptr<RpcServer> server_;
};

std::vector<std::string> AddressesOf(const std::vector<std::unique_ptr<Loader>>& loaders) {
  std::vector<std::string> addresses;
  for (const auto& loader : loaders) addresses.push_back(loader->address());
  return addresses;
}

// Takes every call and says nothing.
class SilentService : public v1::DataloaderService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::StreamBatchesResponse, v1::StreamBatchesRequest>;

  grpc::Status StreamBatches(grpc::ServerContext*, Stream* stream) override {
    v1::StreamBatchesRequest request;
    while (stream->Read(&request)) {
    }
    return grpc::Status::CANCELLED;
  }
};

class BatchStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(::testing::TempDir(), "/batch_stream_test-", getpid());
    const auto manifest = corpus::WriteSyntheticDataset(
        root_ + "/data",
        {.train = {corpus::SyntheticLengths(1, 200, 80)}, .validation = {corpus::SyntheticLengths(2, 20, 80)}});
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    digest_ = manifest->digest;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(root_).ok()); }

  BatchStreamOptions Options(int64_t last_step) const {
    return {.dataset = "data",
            .dataset_digest = digest_,
            .seed = 5,
            .masking = {},
            .max_seq_len = kSeqLen,
            .vocab_size = kVocabSize,
            .range = {.global_rows = 40, .row_begin = 7, .row_end = 33, .first_step = 2, .last_step = last_step},
            .prefetch_steps = 2,
            .stall_timeout = kPatience / 2,
            .give_up_after = kPatience,
            .damage_patience = absl::ZeroDuration()};
  }

  std::unique_ptr<BatchSource> Open(const LoaderList& loaders, const BatchStreamOptions& options) {
    auto source = OpenBatchStream(loaders, credentials_, options);
    EXPECT_TRUE(source.ok()) << source.status();
    return *std::move(source);
  }

  std::string root_;
  std::string digest_;
  const CredentialFlags credentials_ = Insecure();
};

std::vector<sampling::RowBatch> ReadAll(BatchSource& source) {
  std::vector<sampling::RowBatch> steps;
  while (true) {
    auto batch = source.NextStep();
    if (batch.status().code() == absl::StatusCode::kOutOfRange) return steps;
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok()) return steps;
    steps.push_back(*std::move(batch));
  }
}

TEST_F(BatchStreamTest, GivesWholeStepsInOrder) {
  Loader loader(root_);
  const LoaderList loaders({loader.address()});
  const auto steps = ReadAll(*Open(loaders, Options(50)));
  ASSERT_EQ(steps.size(), 48u);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].step, static_cast<int64_t>(i) + 2);
    EXPECT_EQ(steps[i].row_begin, 7);
    EXPECT_EQ(steps[i].row_count, 26);
    EXPECT_FALSE(steps[i].labels.empty());
  }
  EXPECT_NE(steps[0].token_ids, steps[1].token_ids);
}

// Long rows make many responses of one step, so that a loader is lost in the middle of one.
TEST_F(BatchStreamTest, ALostLoaderChangesNothingInTheRows) {
  Loader steady(root_);
  const LoaderList steady_list({steady.address()});
  const auto expected = ReadAll(*Open(steady_list, Options(60)));

  auto first = std::make_unique<Loader>(root_);
  Loader second(root_);
  const LoaderList loaders({first->address(), second.address()});
  const auto source = Open(loaders, Options(60));
  std::vector<sampling::RowBatch> steps;
  for (int i = 0; i < 10; ++i) steps.push_back(*source->NextStep());
  first.reset();
  for (sampling::RowBatch& batch : ReadAll(*source)) steps.push_back(std::move(batch));
  EXPECT_EQ(steps, expected);
}

TEST_F(BatchStreamTest, WaitsForALoaderToComeBack) {
  Loader steady(root_);
  const LoaderList steady_list({steady.address()});
  const auto expected = ReadAll(*Open(steady_list, Options(20)));

  auto lost = std::make_unique<Loader>(root_);
  LoaderList loaders({lost->address()});
  const auto source = Open(loaders, Options(20));
  std::vector<sampling::RowBatch> steps = {*source->NextStep()};
  lost.reset();
  loaders.Update({steady.address()});
  for (sampling::RowBatch& batch : ReadAll(*source)) steps.push_back(std::move(batch));
  EXPECT_EQ(steps, expected);
}

TEST_F(BatchStreamTest, ARestartedLoaderIsTakenUpAgain) {
  auto loader = std::make_unique<Loader>(root_);
  const LoaderList loaders({loader->address()});
  const auto expected = ReadAll(*Open(loaders, Options(60)));
  const auto source = Open(loaders, Options(60));
  std::vector<sampling::RowBatch> steps;
  for (const size_t until : {5u, 20u, 40u}) {
    while (steps.size() < until) steps.push_back(*source->NextStep());
    const std::string address = loader->address();
    loader.reset();
    loader = std::make_unique<Loader>(root_, address);
  }
  for (sampling::RowBatch& batch : ReadAll(*source)) steps.push_back(std::move(batch));
  EXPECT_EQ(steps, expected);
}

// A shard goes bad on one machine: its loader leaves, and the rows go on elsewhere.
TEST_F(BatchStreamTest, LeavesALoaderWhoseShardHasBeenDamaged) {
  const std::string other_root = root_ + "-other";
  std::filesystem::copy(root_, other_root, std::filesystem::copy_options::recursive);
  {
    Loader bad(other_root);
    Loader good(root_);
    const LoaderList good_list({good.address()});
    const auto expected = ReadAll(*Open(good_list, Options(60)));
    const LoaderList loaders({bad.address(), good.address()});
    const auto source = Open(loaders, Options(60));
    std::vector<sampling::RowBatch> steps;
    while (steps.size() < 10) steps.push_back(*source->NextStep());
    ASSERT_EQ(bad.service().open_streams(), 1);
    // A token that is in the vocabulary, so that only the digest tells; in place, so that the mapping sees it. It is in
    // rows that the stream has had or will not get from this loader.
    const std::string shard = other_root + "/data/shards/validation-00000.bin";
    std::string content = *ReadFile(shard);
    content[64] = static_cast<char>(content[64] ^ 1);
    ASSERT_TRUE(WriteFile(shard, content).ok());
    bad.service().VerifyDatasets();
    for (sampling::RowBatch& batch : ReadAll(*source)) steps.push_back(std::move(batch));
    EXPECT_EQ(steps, expected);
    EXPECT_TRUE(bad.service().WaitForOpenStreams(0, kPatience));
    // Alone it is the error, and names the shard.
    const LoaderList bad_list({bad.address()});
    const auto refused = Open(bad_list, Options(60))->NextStep();
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(refused.status().message(), HasSubstr("data/shards/validation-00000.bin: damaged"));
    // Not at once, where another may come.
    BatchStreamOptions options = Options(60);
    options.damage_patience = kPatience;
    LoaderList growing({bad.address()});
    const auto patient = Open(growing, options);
    growing.Update({bad.address(), good.address()});
    EXPECT_EQ(ReadAll(*patient), expected);
  }
  ASSERT_TRUE(RemoveTree(other_root).ok());
}

TEST_F(BatchStreamTest, RanksSpreadOverTheLoaders) {
  std::vector<std::unique_ptr<Loader>> loaders;
  for (int i = 0; i < 3; ++i) loaders.push_back(std::make_unique<Loader>(root_));
  const LoaderList list(AddressesOf(loaders));
  std::vector<std::unique_ptr<BatchSource>> ranks;
  for (int rank = 0; rank < 6; ++rank) {
    BatchStreamOptions options = Options(1'000'000);
    options.first_loader = rank;
    ranks.push_back(Open(list, options));
  }
  for (const auto& rank : ranks) ASSERT_TRUE(rank->NextStep().ok());
  for (const auto& loader : loaders) EXPECT_EQ(loader->service().open_streams(), 2);
  // The two that a loader leaves behind go to different ones.
  loaders.front()->Stop();
  // A stream is opened anew once there is room for its steps.
  for (const auto& rank : ranks) {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(rank->NextStep().ok());
  }
  EXPECT_TRUE(loaders[1]->service().WaitForOpenStreams(3, kPatience));
  EXPECT_TRUE(loaders[2]->service().WaitForOpenStreams(3, kPatience));
}

TEST(LoaderOfTest, EveryRoundAsksEachLoaderOnce) {
  for (size_t loaders = 1; loaders < 8; ++loaders) {
    for (size_t rank = 0; rank < 20; ++rank) {
      for (size_t attempt = 0; attempt < 20; ++attempt) {
        std::set<size_t> asked;
        for (size_t i = 0; i < loaders; ++i) asked.insert(LoaderOf(rank, attempt + i, loaders));
        ASSERT_EQ(asked.size(), loaders) << "rank " << rank << " attempt " << attempt;
        ASSERT_LT(*asked.rbegin(), loaders);
      }
    }
    for (size_t rank = 0; rank < loaders; ++rank) EXPECT_EQ(LoaderOf(rank, 0, loaders), rank);
  }
}

TEST_F(BatchStreamTest, ReadsRowsOfEveryFormat) {
  Loader loader(root_);
  const LoaderList loaders({loader.address()});
  for (const auto format :
       {sampling::RowFormat::kPacked, sampling::RowFormat::kTruncatePad, sampling::RowFormat::kSentencePair}) {
    BatchStreamOptions options = Options(12);
    options.row_format = format;
    const auto steps = ReadAll(*Open(loaders, options));
    ASSERT_EQ(steps.size(), 10u);
    const bool pairs = format == sampling::RowFormat::kSentencePair;
    for (const sampling::RowBatch& batch : steps) {
      EXPECT_EQ(batch.second_begins.size(), pairs ? 26u : 0u);
      if (format != sampling::RowFormat::kPacked) {
        EXPECT_EQ(batch.segment_lengths.size(), 26u);
      }
    }
    const auto dataset = DescribeDataset(loaders, credentials_, {"data", digest_, kSeqLen, format}, kPatience);
    ASSERT_TRUE(dataset.ok());
    if (format == sampling::RowFormat::kTruncatePad) {
      EXPECT_EQ(dataset->train_rows, 200);
    }
  }
}

TEST_F(BatchStreamTest, LeavesASilentLoader) {
  SilentService silent_service;
  const auto silent = Serve(&silent_service);
  Loader loader(root_);
  const LoaderList loaders({silent->address(), loader.address()});
  BatchStreamOptions options = Options(6);
  options.stall_timeout = absl::Milliseconds(200);
  EXPECT_EQ(ReadAll(*Open(loaders, options)).size(), 4u);
}

TEST_F(BatchStreamTest, LeavesALoaderThatHasAnotherDataset) {
  const std::string other_root = root_ + "-other";
  ASSERT_TRUE(corpus::WriteSyntheticDataset(other_root + "/data", {.seed = 99}).ok());
  {
    Loader other(other_root);
    Loader loader(root_);
    const LoaderList loaders({other.address(), loader.address()});
    EXPECT_EQ(ReadAll(*Open(loaders, Options(6))).size(), 4u);
    // Where all have another one, that is the error.
    const LoaderList others({other.address()});
    const auto batch = Open(others, Options(6))->NextStep();
    EXPECT_EQ(batch.status().code(), absl::StatusCode::kFailedPrecondition) << batch.status();
    EXPECT_THAT(batch.status().message(), HasSubstr(other.address()));
  }
  ASSERT_TRUE(RemoveTree(other_root).ok());
}

TEST_F(BatchStreamTest, GivesUpInBoundedTime) {
  const LoaderList nobody({"127.0.0.1:1"});
  BatchStreamOptions options = Options(6);
  options.give_up_after = absl::Milliseconds(300);
  const auto batch = Open(nobody, options)->NextStep();
  EXPECT_EQ(batch.status().code(), absl::StatusCode::kDeadlineExceeded) << batch.status();
  EXPECT_THAT(batch.status().message(), HasSubstr("127.0.0.1:1"));
}

TEST_F(BatchStreamTest, ClosesWhileTheQueueIsFull) {
  Loader loader(root_);
  const LoaderList loaders({loader.address()});
  BatchStreamOptions options = Options(0);
  options.range.last_step = 1'000'000;
  const auto source = Open(loaders, options);
  ASSERT_TRUE(source->NextStep().ok());
}

TEST_F(BatchStreamTest, TheLastStepOfASplitIsCutShort) {
  Loader loader(root_);
  LoaderList loaders({loader.address()});
  const auto dataset = DescribeDataset(loaders, credentials_, {"data", digest_, kSeqLen}, kPatience);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const int64_t rows = dataset->validation_rows;
  ASSERT_GT(rows, 10);
  int64_t read = 0;
  for (const auto& [begin, end] : {std::pair{0, 4}, std::pair{4, 8}}) {
    BatchStreamOptions options = Options(0);
    options.range = {.split = Split::kValidation,
                     .global_rows = 8,
                     .row_begin = begin,
                     .row_end = end,
                     .first_step = 0,
                     // Two steps more than there are.
                     .last_step = (rows + 7) / 8 + 2,
                     .split_rows = rows};
    for (const sampling::RowBatch& batch : ReadAll(*Open(loaders, options))) read += batch.row_count;
  }
  EXPECT_EQ(read, rows);
}

TEST_F(BatchStreamTest, DescribesTheDataset) {
  Loader loader(root_);
  const LoaderList loaders({"127.0.0.1:1", loader.address()});
  const auto dataset = DescribeDataset(loaders, credentials_, {"data", "", kSeqLen}, kPatience);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->digest, digest_);
  EXPECT_EQ(dataset->vocab_size, kVocabSize);
  EXPECT_GT(dataset->train_rows, 100);
  EXPECT_GT(dataset->unigram_cross_entropy, 1.0);
  EXPECT_FALSE(dataset->tokenizer_files.empty());

  const LoaderList one({loader.address()});
  EXPECT_EQ(DescribeDataset(one, credentials_, {"none", "", kSeqLen}, kPatience).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(DescribeDataset(one, credentials_, {"data", "xxh128:1", kSeqLen}, kPatience).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(DescribeDataset(LoaderList({"127.0.0.1:1"}), credentials_, {"data", "", kSeqLen}, absl::Milliseconds(200))
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace bert::trainer
