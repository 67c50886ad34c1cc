#include "dataloader/service/dataloader_service.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"
#include "dataloader/service/batch_cursor.h"

namespace bert::loader {
namespace {

constexpr int kOpenerThreads = 2;

void Summarize(const corpus::SplitEntry& entry, int64_t rows, v1::SplitSummary* summary) {
  summary->set_documents(entry.documents);
  summary->set_words(entry.words);
  summary->set_tokens(entry.tokens);
  summary->set_rows(rows);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataloaderService>> DataloaderService::Create(const Options& options,
                                                                             LoaderMetrics* metrics, Clock* clock) {
  ASSIGN_OR_RETURN(auto datasets,
                   DatasetCache::Create(options.data_root, options.datasets_kept, options.index_directory,
                                        [metrics] { metrics->datasets_damaged.Increment(); }));
  return std::unique_ptr<DataloaderService>(new DataloaderService(options, std::move(datasets), metrics, clock));
}

DataloaderService::DataloaderService(const Options& options, std::unique_ptr<DatasetCache> datasets,
                                     LoaderMetrics* metrics, Clock* clock)
    : options_(options),
      metrics_(metrics),
      datasets_(std::move(datasets)),
      host_{.datasets = datasets_.get(),
            .openers = &openers_,
            .producers = &producers_,
            .metrics = metrics,
            .clock = clock,
            .responses_ahead = std::max(1, options.responses_ahead),
            .on_done = [this](BatchStream* stream) { Remove(stream); }},
      openers_("opener", kOpenerThreads),
      producers_("producer", options.threads),
      verifier_(datasets_.get(), options.verify, metrics) {}

DataloaderService::~DataloaderService() {
  MutexLock lock(&mutex_);
  while (!streams_.empty()) changed_.Wait(&mutex_);
}

void DataloaderService::StopStreams() {
  std::vector<std::shared_ptr<BatchStream>> streams;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    for (const auto& [key, stream] : streams_) streams.push_back(stream);
  }
  for (const auto& stream : streams) {
    stream->Abort(absl::UnavailableError("this dataloader is shutting down; go on at another"));
  }
}

int64_t DataloaderService::open_streams() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(streams_.size());
}

bool DataloaderService::WaitForOpenStreams(int64_t count, absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (static_cast<int64_t>(streams_.size()) != count) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(&mutex_, left);
  }
  return true;
}

grpc::ServerUnaryReactor* DataloaderService::DescribeDataset(grpc::CallbackServerContext* context,
                                                             const v1::DescribeDatasetRequest* request,
                                                             v1::DescribeDatasetResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  openers_.Submit([this, reactor, request, response] { reactor->Finish(ToGrpc(Describe(*request, response))); });
  return reactor;
}

absl::Status DataloaderService::Describe(const v1::DescribeDatasetRequest& request,
                                         v1::DescribeDatasetResponse* response) {
  ASSIGN_OR_RETURN(const auto served, datasets_->Get(request.dataset(), request.dataset_digest()));
  metrics_->open_datasets.Set(static_cast<double>(datasets_->size()));
  ASSIGN_OR_RETURN(const sampling::RowFormat format, RowFormatOf(request.rows()));
  ASSIGN_OR_RETURN(const auto train, served->Rows(corpus::SplitKind::kTrain, request.max_seq_len(), format));
  ASSIGN_OR_RETURN(const auto validation, served->Rows(corpus::SplitKind::kValidation, request.max_seq_len(), format));
  const corpus::Dataset& dataset = served->dataset();
  const corpus::VocabularyFacts& vocabulary = dataset.vocabulary();
  response->set_dataset_digest(dataset.digest());
  response->set_vocab_size(vocabulary.vocab_size);
  response->set_pad_id(vocabulary.pad_id);
  response->set_unk_id(vocabulary.unk_id);
  response->set_cls_id(vocabulary.cls_id);
  response->set_sep_id(vocabulary.sep_id);
  response->set_mask_id(vocabulary.mask_id);
  Summarize(dataset.manifest().train, train->rows(), response->mutable_train());
  Summarize(dataset.manifest().validation, validation->rows(), response->mutable_validation());
  for (const corpus::Dataset::TokenizerFile& file : dataset.tokenizer_files()) {
    v1::TokenizerFile* out = response->add_tokenizer_files();
    out->set_name(file.name);
    out->set_content(file.content);
  }
  response->set_unigram_cross_entropy(dataset.manifest().unigram_cross_entropy);
  return absl::OkStatus();
}

grpc::ServerBidiReactor<v1::StreamBatchesRequest, v1::StreamBatchesResponse>* DataloaderService::StreamBatches(
    grpc::CallbackServerContext*) {
  auto stream = std::make_shared<BatchStream>(&host_);
  absl::Status refusal;
  {
    MutexLock lock(&mutex_);
    if (stopping_) {
      refusal = absl::UnavailableError("this dataloader is shutting down; go on at another");
    } else if (static_cast<int>(streams_.size()) >= options_.streams_max) {
      refusal = absl::ResourceExhaustedError(
          absl::StrCat("this dataloader has ", streams_.size(), " streams, its most; go on at another"));
    }
    streams_.emplace(stream.get(), stream);
    changed_.SignalAll();
    metrics_->open_streams.Set(static_cast<double>(streams_.size()));
  }
  if (refusal.ok()) {
    stream->Start();
  } else {
    stream->Abort(refusal);
  }
  return stream.get();
}

void DataloaderService::Remove(BatchStream* stream) {
  std::shared_ptr<BatchStream> last;
  MutexLock lock(&mutex_);
  const auto found = streams_.find(stream);
  last = std::move(found->second);
  streams_.erase(found);
  metrics_->open_streams.Set(static_cast<double>(streams_.size()));
  changed_.SignalAll();
}

}  // namespace bert::loader
