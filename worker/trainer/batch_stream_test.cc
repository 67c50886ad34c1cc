#include "worker/trainer/batch_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

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

std::unique_ptr<RpcServer> Serve(grpc::Service* service) {
  return *RpcServer::Start({.listen = "127.0.0.1:0",
                            .credentials = Insecure(),
                            .configure = [=](grpc::ServerBuilder& builder) { builder.RegisterService(service); }});
}

// A real loader on a port of its own.
class Loader {
 public:
  explicit Loader(const std::string& data_root)
      : service_(*loader::DataloaderService::Create({.data_root = data_root}, &metrics_, &RealClock())),
        server_(Serve(service_.get())) {}
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
            .give_up_after = kPatience};
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
