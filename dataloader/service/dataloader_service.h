// bert.v1.DataloaderService over a folder of datasets.
#ifndef BERT_DATALOADER_SERVICE_DATALOADER_SERVICE_H_
#define BERT_DATALOADER_SERVICE_DATALOADER_SERVICE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bert/v1/dataloader.grpc.pb.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "dataloader/service/batch_stream.h"
#include "dataloader/service/dataset_cache.h"
#include "dataloader/service/dataset_verifier.h"
#include "dataloader/service/loader_metrics.h"
#include "dataloader/service/work_pool.h"

namespace bert::loader {

// Register it with a server, end that server, then destroy this. Thread-safe.
class DataloaderService : public v1::DataloaderService::CallbackService {
 public:
  struct Options {
    std::string data_root;
    // That make batches.
    int threads = 1;
    int streams_max = 1024;
    // Datasets that stay open when nobody uses them.
    int datasets_kept = 8;
    // Of each stream, made before there is credit for them.
    int responses_ahead = 2;
    // Where row indexes are kept, see ServedDataset::Rows; empty: in memory.
    std::string index_directory = {};
    // How open datasets are looked at again.
    DatasetVerifier::Options verify = {.interval = absl::ZeroDuration()};
  };

  // `metrics` and `clock` outlive the service. NOT_FOUND: data_root is no directory.
  static absl::StatusOr<std::unique_ptr<DataloaderService>> Create(const Options& options, LoaderMetrics* metrics,
                                                                   Clock* clock);
  // Waits for the streams, whose server has been shut down.
  ~DataloaderService() override;

  // Ends every stream, and each that comes after, with UNAVAILABLE: clients go on at another loader.
  void StopStreams();
  int64_t open_streams() const;
  // Looks at every open dataset for damage, now. Streams of a damaged one end with DATA_LOSS.
  void VerifyDatasets() { verifier_.VerifyNow(); }
  // Waits until that many are open; false when `timeout` is over first.
  bool WaitForOpenStreams(int64_t count, absl::Duration timeout) const;

  grpc::ServerUnaryReactor* DescribeDataset(grpc::CallbackServerContext* context,
                                            const v1::DescribeDatasetRequest* request,
                                            v1::DescribeDatasetResponse* response) override;
  grpc::ServerBidiReactor<v1::StreamBatchesRequest, v1::StreamBatchesResponse>* StreamBatches(
      grpc::CallbackServerContext* context) override;

 private:
  DataloaderService(const Options& options, std::unique_ptr<DatasetCache> datasets, LoaderMetrics* metrics,
                    Clock* clock);
  void Remove(BatchStream* stream);
  absl::Status Describe(const v1::DescribeDatasetRequest& request, v1::DescribeDatasetResponse* response);

  const Options options_;
  LoaderMetrics* const metrics_;
  const std::unique_ptr<DatasetCache> datasets_;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::map<BatchStream*, std::shared_ptr<BatchStream>> streams_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  // Before the pools, so that it outlives their last tasks.
  const BatchStream::Host host_;
  // Opening a dataset reads it whole, so it must not hold up streams that have theirs.
  WorkPool openers_;
  WorkPool producers_;
  DatasetVerifier verifier_;
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_DATALOADER_SERVICE_H_
