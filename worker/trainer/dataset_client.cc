#include "worker/trainer/dataset_client.h"

#include <grpcpp/client_context.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "bert/v1/dataloader.grpc.pb.h"
#include "common/backoff.h"
#include "common/entropy.h"
#include "common/rpc/credentials.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"
#include "worker/trainer/coordinator.h"

namespace bert::trainer {
namespace {

// A loader reads every shard once before it first serves a dataset.
constexpr absl::Duration kDescribeDeadline = absl::Minutes(2);
constexpr absl::Duration kRetryInitial = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(2);

DatasetDescription FromProto(const v1::DescribeDatasetResponse& response) {
  DatasetDescription description;
  description.digest = response.dataset_digest();
  description.vocab_size = response.vocab_size();
  description.pad_id = response.pad_id();
  description.train_rows = response.train().rows();
  description.train_tokens = response.train().tokens();
  description.validation_rows = response.validation().rows();
  description.unigram_cross_entropy = response.unigram_cross_entropy();
  for (const v1::TokenizerFile& file : response.tokenizer_files()) {
    description.tokenizer_files.push_back({file.name(), file.content()});
  }
  return description;
}

absl::StatusOr<DatasetDescription> DescribeOnce(const std::string& address, const CredentialFlags& credentials,
                                                const DatasetQuery& query) {
  ASSIGN_OR_RETURN(const auto channel, MakeChannel(address, credentials));
  v1::DescribeDatasetRequest request;
  request.set_dataset(query.dataset);
  request.set_dataset_digest(query.digest);
  request.set_max_seq_len(query.max_seq_len);
  request.set_rows(static_cast<v1::RowFormat>(query.row_format));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kDescribeDeadline));
  v1::DescribeDatasetResponse response;
  RETURN_IF_ERROR(
      Annotate(FromGrpc(v1::DataloaderService::NewStub(channel)->DescribeDataset(&context, request, &response)),
               absl::StrCat("dataloader ", address)));
  return FromProto(response);
}

}  // namespace

absl::StatusOr<DatasetDescription> DescribeDataset(const LoaderList& loaders, const CredentialFlags& credentials,
                                                   const DatasetQuery& query, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  Backoff backoff(kRetryInitial, kRetryMax, RandomSeed());
  bool announced = false;
  while (true) {
    absl::Status last = absl::UnavailableError("no dataloader is known; start bert-dataloader with --coordinator");
    bool any_transient = false;
    for (const std::string& address : loaders.Get()) {
      absl::StatusOr<DatasetDescription> description = DescribeOnce(address, credentials, query);
      if (description.ok()) return description;
      last = description.status();
      any_transient |= IsTransient(last);
    }
    if (!IsTransient(last) && !any_transient) return last;
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("no dataloader described dataset ", query.dataset, " within ",
                                                      absl::FormatDuration(timeout),
                                                      "; the last said: ", last.message()));
    }
    if (!announced) spdlog::warn("waiting for a dataloader: {}", std::string(last.message()));
    announced = true;
    absl::SleepFor(backoff.Next());
  }
}

}  // namespace bert::trainer
