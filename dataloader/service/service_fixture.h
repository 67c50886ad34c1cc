// A loader on a port of its own, a client as a trainer is one, and a dataset: for the tests of this folder.
#ifndef BERT_DATALOADER_SERVICE_SERVICE_FIXTURE_H_
#define BERT_DATALOADER_SERVICE_SERVICE_FIXTURE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/rpc/server.h"
#include "common/rpc/status_conversion.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/service/dataloader_service.h"

namespace bert::loader {

inline constexpr int32_t kVocabSize = 1000;
inline constexpr int32_t kSeqLen = 64;
inline constexpr int32_t kBatchSize = 24;
inline constexpr absl::Duration kPatience = absl::Seconds(20);

inline sampling::RowBatch DecodeResponse(const v1::StreamBatchesResponse& response) {
  auto batch = sampling::Decode({.step = response.step(),
                                 .row_begin = response.row_begin(),
                                 .row_count = response.row_count(),
                                 .token_ids = response.token_ids(),
                                 .segment_counts = response.segment_counts(),
                                 .segment_lengths = response.segment_lengths(),
                                 .masked_counts = response.masked_counts(),
                                 .masked_positions = response.masked_positions(),
                                 .labels = response.labels(),
                                 .second_begins = response.second_begins(),
                                 .is_next = response.is_next()},
                                {.vocab_size = kVocabSize, .max_seq_len = kSeqLen});
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

// A loader on a port of its own.
class Loader {
 public:
  explicit Loader(const std::string& data_root, int streams_max = 16, const std::string& index_directory = "")
      : service_(*DataloaderService::Create(
            {.data_root = data_root, .threads = 2, .streams_max = streams_max, .index_directory = index_directory},
            &metrics_, &RealClock())) {
    CredentialFlags credentials;
    credentials.insecure = true;
    server_ = *RpcServer::Start(
        {.listen = "127.0.0.1:0", .credentials = credentials, .configure = [this](grpc::ServerBuilder& builder) {
           builder.RegisterService(service_.get());
         }});
    stub_ = v1::DataloaderService::NewStub(*MakeChannel(server_->address(), credentials));
  }

  v1::DataloaderService::Stub& stub() { return *stub_; }
  DataloaderService& service() { return *service_; }
  RpcServer& server() { return *server_; }
  LoaderMetrics& metrics() { return metrics_; }

 private:
  LoaderMetrics metrics_;
  std::unique_ptr<DataloaderService> service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<v1::DataloaderService::Stub> stub_;
};

// Writes into the file, so that its mappings see it; what is around the byte is always there.
inline void SetByte(const std::string& path, std::streamoff offset, char value) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(offset);
  file.put(value);
  ASSERT_TRUE(file.good());
}

// One call, as a trainer makes it.
class Client {
 public:
  Client(Loader& loader, const v1::OpenStream& open) : Client(loader) {
    v1::StreamBatchesRequest request;
    *request.mutable_open() = open;
    stream_->Write(request);
  }
  explicit Client(Loader& loader) : stream_(loader.stub().StreamBatches(&context_)) {}

  void Write(const v1::StreamBatchesRequest& request) { stream_->Write(request); }
  void AddCredits(int32_t credits) {
    v1::StreamBatchesRequest request;
    request.set_credits(credits);
    stream_->Write(request);
  }
  void CloseWrites() { stream_->WritesDone(); }
  std::optional<v1::StreamBatchesResponse> Read() {
    v1::StreamBatchesResponse response;
    return stream_->Read(&response) ? std::optional(std::move(response)) : std::nullopt;
  }
  std::vector<v1::StreamBatchesResponse> ReadAll() {
    std::vector<v1::StreamBatchesResponse> all;
    while (auto response = Read()) all.push_back(*std::move(response));
    return all;
  }
  void Cancel() { context_.TryCancel(); }
  absl::Status Finish() { return FromGrpc(stream_->Finish()); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::StreamBatchesRequest, v1::StreamBatchesResponse>> stream_;
};

class DataloaderServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    corpus::SyntheticOptions options;
    options.vocab_size = kVocabSize;
    options.train = {corpus::SyntheticLengths(1, 60, 80), corpus::SyntheticLengths(2, 60, 40)};
    const auto manifest = corpus::WriteSyntheticDataset(root_ + "/novels", options);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    digest_ = manifest->digest;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(root_).ok()); }

  v1::OpenStream OpenTrain(int64_t first_step, int64_t last_step) const {
    v1::OpenStream open;
    open.set_dataset("novels");
    open.set_dataset_digest(digest_);
    open.set_split(v1::SPLIT_TRAIN);
    open.set_seed(7);
    open.set_max_seq_len(kSeqLen);
    open.set_global_batch_size(kBatchSize);
    open.set_row_end(kBatchSize);
    open.set_first_step(first_step);
    open.set_last_step(last_step);
    open.set_initial_credits(1000);
    return open;
  }

  // The batches without any service.
  sampling::RowBatch Expected(int64_t step, int32_t row_begin = 0, int32_t row_end = kBatchSize) const {
    const auto rows =
        sampling::RowIndex::Build(*corpus::Dataset::Open(root_ + "/novels"), corpus::SplitKind::kTrain, kSeqLen);
    auto sampler = *sampling::BatchSampler::Create(
        *rows, {.split = corpus::SplitKind::kTrain, .seed = 7, .global_batch_size = kBatchSize}, {});
    sampling::RowBatch batch;
    EXPECT_TRUE(sampler->FillRows(step, row_begin, row_end, &batch).ok());
    return batch;
  }

  static absl::Status EndOf(Loader& loader, const v1::OpenStream& open) {
    Client client(loader, open);
    client.ReadAll();
    return client.Finish();
  }

  const std::string root_ = absl::StrCat(testing::TempDir(), "/dataloader_service_test-", getpid());
  std::string digest_;
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_SERVICE_FIXTURE_H_
