// One StreamBatches call.
#ifndef BERT_DATALOADER_SERVICE_BATCH_STREAM_H_
#define BERT_DATALOADER_SERVICE_BATCH_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bert/v1/dataloader.pb.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "dataloader/service/batch_cursor.h"
#include "dataloader/service/dataset_cache.h"
#include "dataloader/service/loader_metrics.h"
#include "dataloader/service/work_pool.h"

namespace bert::loader {

// Sends a cursor's responses as credit allows. Holds at most one on its way and Host::responses_ahead made ahead, so
// that the shards' pages are read before the rows are wanted. No thread waits for a stream: gRPC's threads deliver
// events (a message read, a write done, the call cancelled), the producers' pool makes responses, and each of them
// calls Advance, which does whatever has become possible.
//
//   client                     stream                        pools
//     | open, 2 credits  ------> |  open the dataset  ---------> openers
//     |                          |  make response 0   ---------> producers
//     | <------- response 0      |  make response 1   ---------> producers
//     | <------- response 1      |  make response 2, hold it: no credit
//     |                          |  make response 3, hold it: responses_ahead is 2
//     | 1 credit         ------> |
//     | <------- response 2      |  ...
//
// The call ends after the last response, by an error, by Abort, or when the client has gone or closed its side and used
// its credit up. Thread-safe. Owned by shared_ptr: the host's until on_done, and each pool task's.
class BatchStream : public grpc::ServerBidiReactor<v1::StreamBatchesRequest, v1::StreamBatchesResponse>,
                    public std::enable_shared_from_this<BatchStream> {
 public:
  // All outlive the stream.
  struct Host {
    DatasetCache* datasets;
    WorkPool* openers;
    WorkPool* producers;
    LoaderMetrics* metrics;
    Clock* clock;
    // At least 1.
    int responses_ahead;
    // Called once, last; may drop the stream.
    std::function<void(BatchStream*)> on_done;
  };

  explicit BatchStream(const Host* host) : host_(host) {}

  // Begins to read. To be called once.
  void Start();
  // Ends the call with `status` as soon as no write is under way. What it was ended with first counts.
  void Abort(const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  enum class Stall { kNone, kLoader, kClient };
  // What Advance has to do once the mutex is free.
  struct Actions {
    bool produce = false;
    bool write = false;
    std::optional<absl::Status> finish;
  };

  absl::Status HandleMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Open();
  void Produce();
  void Advance();
  Actions Decide() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteStall() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Host* const host_;
  v1::StreamBatchesRequest request_;  // Of the read under way.
  // Of the write under way.
  v1::StreamBatchesResponse outgoing_;
  // Of the pool task under way: set before the first one, then used by one at a time.
  std::unique_ptr<BatchCursor> cursor_;

  Mutex mutex_;
  std::optional<v1::OpenStream> open_ ABSL_GUARDED_BY(mutex_);
  int64_t credits_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reads_done_ ABSL_GUARDED_BY(mutex_) = false;
  // The dataset is open: responses can be made.
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;
  bool producing_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  // The last response has been made.
  bool exhausted_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<v1::StreamBatchesResponse> ready_ ABSL_GUARDED_BY(mutex_);
  // How the call ends; nothing more is made or written.
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  Stall stall_ ABSL_GUARDED_BY(mutex_) = Stall::kNone;
  absl::Duration stall_since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_BATCH_STREAM_H_
