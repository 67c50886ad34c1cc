#include "dataloader/service/dataloader_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "dataloader/service/service_fixture.h"

namespace bert::loader {
namespace {

using testing::HasSubstr;

TEST_F(DataloaderServiceTest, DescribesADataset) {
  Loader loader(root_);
  grpc::ClientContext context;
  v1::DescribeDatasetRequest request;
  request.set_dataset("novels");
  request.set_max_seq_len(kSeqLen);
  v1::DescribeDatasetResponse response;
  const grpc::Status status = loader.stub().DescribeDataset(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.dataset_digest(), digest_);
  EXPECT_EQ(response.vocab_size(), kVocabSize);
  EXPECT_EQ(response.mask_id(), 4);
  EXPECT_EQ(response.train().documents(), 120);
  EXPECT_GT(response.train().rows(), response.train().tokens() / kSeqLen);
  EXPECT_EQ(response.validation().rows(), 3);
  EXPECT_EQ(response.unigram_cross_entropy(), 6.25);
  ASSERT_EQ(response.tokenizer_files_size(), 2);
  EXPECT_EQ(response.tokenizer_files(0).name(), "vocab.txt");
  EXPECT_EQ(response.tokenizer_files(0).content(), corpus::SyntheticVocabulary(kVocabSize));
}

TEST_F(DataloaderServiceTest, RanksTogetherGetTheWholeBatch) {
  Loader loader(root_);
  for (const int32_t world_size : {1, 2, 5}) {
    for (const int32_t rows_per_response : {0, 1, 7}) {
      std::vector<sampling::RowBatch> joined(3);
      for (int32_t rank = 0; rank < world_size; ++rank) {
        v1::OpenStream open = OpenTrain(40, 43);
        open.set_row_begin(kBatchSize * rank / world_size);
        open.set_row_end(kBatchSize * (rank + 1) / world_size);
        open.set_rows_per_response(rows_per_response);
        Client client(loader, open);
        for (const auto& response : client.ReadAll()) {
          if (rows_per_response > 0) {
            EXPECT_LE(response.row_count(), rows_per_response);
          }
          ASSERT_GE(response.step(), 40);
          ASSERT_LT(response.step(), 43);
          sampling::RowBatch& batch = joined[static_cast<size_t>(response.step() - 40)];
          batch.step = response.step();
          batch.Append(DecodeResponse(response));
        }
        EXPECT_TRUE(client.Finish().ok());
      }
      for (int64_t step = 40; step < 43; ++step) {
        EXPECT_EQ(joined[static_cast<size_t>(step - 40)], Expected(step)) << "world size " << world_size;
      }
    }
  }
}

TEST_F(DataloaderServiceTest, AnotherLoaderGoesOnAtTheSameRow) {
  Loader first(root_);
  Loader second(root_);
  v1::OpenStream open = OpenTrain(5, 0);
  open.set_rows_per_response(8);
  open.set_initial_credits(2);
  Client before(first, open);
  const auto a = before.Read();
  const auto b = before.Read();
  before.Cancel();
  EXPECT_EQ(before.Finish().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(a.has_value() && b.has_value());
  sampling::RowBatch step{.step = 5};
  step.Append(DecodeResponse(*a));
  step.Append(DecodeResponse(*b));
  ASSERT_EQ(step.row_count, 16);
  open.set_row_begin(16);
  open.set_first_step(5);
  open.set_last_step(6);
  Client after(second, open);
  for (const auto& response : after.ReadAll()) step.Append(DecodeResponse(response));
  EXPECT_TRUE(after.Finish().ok());
  EXPECT_EQ(step, Expected(5));
}

TEST_F(DataloaderServiceTest, SendsExactlyAsMuchAsThereIsCredit) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 0);
  open.set_initial_credits(2);
  Client client(loader, open);
  EXPECT_EQ(client.Read()->step(), 0);
  EXPECT_EQ(client.Read()->step(), 1);
  client.AddCredits(1);
  EXPECT_EQ(client.Read()->step(), 2);
  client.AddCredits(2);
  client.AddCredits(3);
  // A client that has closed its side gets what it has given credit for, then the end.
  client.CloseWrites();
  EXPECT_EQ(client.ReadAll().size(), 5u);
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_EQ(loader.metrics().responses.Value(), 8);
  EXPECT_EQ(loader.metrics().rows.Value(), 8 * kBatchSize);
  EXPECT_GT(loader.metrics().tokens.Value(), 8 * kBatchSize * kSeqLen * 0.9);
}

TEST_F(DataloaderServiceTest, WithoutCreditNothingIsSent) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 0);
  open.set_initial_credits(0);
  Client client(loader, open);
  client.CloseWrites();
  EXPECT_TRUE(client.ReadAll().empty());
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(DataloaderServiceTest, ValidationEndsWithAPartOfAStepAndThenEmptyOnes) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 3);
  open.set_split(v1::SPLIT_VALIDATION);
  open.set_global_batch_size(2);
  open.set_row_end(2);
  Client client(loader, open);
  const auto responses = client.ReadAll();
  EXPECT_TRUE(client.Finish().ok());
  ASSERT_EQ(responses.size(), 3u);
  EXPECT_EQ(responses[0].row_count(), 2);
  EXPECT_EQ(responses[1].row_count(), 1);
  EXPECT_EQ(responses[2].row_count(), 0);
  EXPECT_EQ(responses[2].step(), 2);
  EXPECT_EQ(DecodeResponse(responses[2]).row_count, 0);
}

TEST_F(DataloaderServiceTest, ResponsesStayBounded) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 1);
  open.set_global_batch_size(20'000);
  open.set_row_end(20'000);
  open.set_rows_per_response(20'000);
  open.mutable_masking()->set_probability(1);
  Client client(loader, open);
  int32_t rows = 0;
  for (const auto& response : client.ReadAll()) {
    EXPECT_LE(response.ByteSizeLong(), 1u << 20);
    rows += response.row_count();
  }
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_EQ(rows, 20'000);
}

TEST_F(DataloaderServiceTest, WhatIsWrongWithTheDatasetIsSaid) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 1);
  open.set_dataset("poems");
  EXPECT_EQ(EndOf(loader, open).code(), absl::StatusCode::kNotFound);
  open.set_dataset("../novels");
  EXPECT_EQ(EndOf(loader, open).code(), absl::StatusCode::kInvalidArgument);
  open = OpenTrain(0, 1);
  open.set_dataset_digest("xxh128:00000000000000000000000000000000");
  const absl::Status other = EndOf(loader, open);
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(other.message(), HasSubstr(digest_));
  const std::string shard = root_ + "/novels/shards/train-00001.bin";
  std::string content = *ReadFile(shard);
  content[100] = static_cast<char>(content[100] ^ 1);
  ASSERT_TRUE(WriteFile(shard, content).ok());
  Loader fresh(root_);
  const absl::Status damaged = EndOf(fresh, OpenTrain(0, 1));
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(damaged.message(), HasSubstr("train-00001.bin: damaged"));
  grpc::ClientContext context;
  v1::DescribeDatasetRequest request;
  request.set_dataset("novels");
  request.set_max_seq_len(kSeqLen);
  v1::DescribeDatasetResponse response;
  EXPECT_EQ(fresh.stub().DescribeDataset(&context, request, &response).error_code(), grpc::StatusCode::DATA_LOSS);
}

TEST_F(DataloaderServiceTest, RequestsThatMakeNoSenseAreRefused) {
  Loader loader(root_);
  const auto refused = [&](void (*change)(v1::OpenStream&)) {
    v1::OpenStream open = OpenTrain(0, 1);
    change(open);
    const absl::Status status = EndOf(loader, open);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  };
  refused([](v1::OpenStream& open) { open.set_split(v1::SPLIT_UNSPECIFIED); });
  refused([](v1::OpenStream& open) { open.set_row_end(kBatchSize + 1); });
  refused([](v1::OpenStream& open) { open.set_row_begin(-1); });
  refused([](v1::OpenStream& open) { open.set_row_begin(kBatchSize); });
  refused([](v1::OpenStream& open) { open.set_global_batch_size(0); });
  refused([](v1::OpenStream& open) { open.set_max_seq_len(2); });
  refused([](v1::OpenStream& open) { open.set_max_seq_len(70'000); });
  refused([](v1::OpenStream& open) { open.set_first_step(-1); });
  refused([](v1::OpenStream& open) { open.set_first_step(2); });
  refused([](v1::OpenStream& open) { open.set_first_step(INT64_MAX), open.set_last_step(0); });
  refused([](v1::OpenStream& open) { open.set_last_step(INT64_MAX); });
  refused([](v1::OpenStream& open) { open.set_initial_credits(-1); });
  refused([](v1::OpenStream& open) { open.mutable_masking()->set_probability(1.5); });
  refused([](v1::OpenStream& open) { open.mutable_masking()->set_ngram_max(0); });
  refused([](v1::OpenStream& open) { open.mutable_masking()->set_max_predictions_per_seq(-1); });
  refused([](v1::OpenStream& open) { open.set_rows(static_cast<v1::RowFormat>(9)); });
  {
    Client client(loader);
    client.AddCredits(1);
    EXPECT_EQ(client.Finish().code(), absl::StatusCode::kInvalidArgument);
  }
  {
    Client client(loader);
    client.CloseWrites();
    EXPECT_EQ(client.Finish().code(), absl::StatusCode::kInvalidArgument);
  }
  {
    v1::StreamBatchesRequest again;
    *again.mutable_open() = OpenTrain(0, 0);
    again.mutable_open()->set_initial_credits(0);
    Client client(loader, again.open());
    client.Write(again);
    EXPECT_EQ(client.Finish().code(), absl::StatusCode::kInvalidArgument);
  }
}

// A stream without end whose steps run out ends with an error; the loader goes on.
TEST_F(DataloaderServiceTest, TheLastCountableStepEndsAStream) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 0);
  const auto rows =
      *sampling::RowIndex::Build(*corpus::Dataset::Open(root_ + "/novels"), corpus::SplitKind::kTrain, kSeqLen);
  // The last step of the 2^32nd epoch.
  open.set_first_step((int64_t{UINT32_MAX} + 1) * rows->rows() / kBatchSize - 1);
  Client client(loader, open);
  EXPECT_LE(client.ReadAll().size(), 2u);
  EXPECT_EQ(client.Finish().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(EndOf(loader, OpenTrain(0, 1)).ok());
}

TEST_F(DataloaderServiceTest, ACancelledClientIsForgotten) {
  Loader loader(root_);
  Client waiting(loader, OpenTrain(0, 0));
  ASSERT_TRUE(waiting.Read().has_value());
  EXPECT_EQ(loader.service().open_streams(), 1);
  waiting.Cancel();
  EXPECT_TRUE(loader.service().WaitForOpenStreams(0, kPatience));
  EXPECT_EQ(waiting.Finish().code(), absl::StatusCode::kCancelled);
}

TEST_F(DataloaderServiceTest, StreamsEndWithUnavailableWhenTheLoaderStops) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 0);
  open.set_initial_credits(1);
  Client idle(loader, open);
  ASSERT_TRUE(idle.Read().has_value());
  loader.service().StopStreams();
  EXPECT_FALSE(idle.Read().has_value());
  const absl::Status status = idle.Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("go on at another"));
  EXPECT_EQ(EndOf(loader, open).code(), absl::StatusCode::kUnavailable);
}

// A client with credit that does not read holds up neither the others nor the end of the server.
TEST_F(DataloaderServiceTest, AClientThatDoesNotReadIsCutOff) {
  Loader loader(root_);
  v1::OpenStream open = OpenTrain(0, 0);
  open.set_global_batch_size(4000);
  open.set_row_end(4000);
  open.set_initial_credits(1'000'000);
  Client stuck(loader, open);
  ASSERT_TRUE(stuck.Read().has_value());
  EXPECT_TRUE(EndOf(loader, OpenTrain(0, 3)).ok());
  loader.service().StopStreams();
  loader.server().Stop(absl::ZeroDuration());
  EXPECT_TRUE(loader.service().WaitForOpenStreams(0, kPatience));
}

TEST_F(DataloaderServiceTest, StreamsAreBounded) {
  Loader loader(root_, /*streams_max=*/1);
  Client first(loader, OpenTrain(0, 0));
  ASSERT_TRUE(first.Read().has_value());
  EXPECT_EQ(EndOf(loader, OpenTrain(0, 1)).code(), absl::StatusCode::kResourceExhausted);
  first.Cancel();
  ASSERT_TRUE(loader.service().WaitForOpenStreams(0, kPatience));
  EXPECT_TRUE(EndOf(loader, OpenTrain(0, 1)).ok());
  EXPECT_EQ(first.Finish().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace bert::loader
