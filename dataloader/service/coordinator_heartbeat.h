// Tells the coordinator that this dataloader is there.
#ifndef BERT_DATALOADER_SERVICE_COORDINATOR_HEARTBEAT_H_
#define BERT_DATALOADER_SERVICE_COORDINATOR_HEARTBEAT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "dataloader/service/loader_metrics.h"

namespace bert::loader {

// Sends LoaderHeartbeat from a thread of its own until destroyed, at the interval that the coordinator answers; again
// after a failure, with backoff, for as long as it takes.
class CoordinatorHeartbeat {
 public:
  struct Options {
    // host:port that trainers reach this loader at.
    std::string address;
    std::string version;
    std::function<int64_t()> open_streams;
    // Of the backoff's jitter.
    uint64_t seed = 0;
  };

  // `metrics` outlives it.
  CoordinatorHeartbeat(std::shared_ptr<grpc::Channel> channel, Options options, LoaderMetrics* metrics);
  // Gives up the call under way, if any.
  ~CoordinatorHeartbeat();

 private:
  void Run();
  // One call; its interval on success.
  absl::StatusOr<absl::Duration> Send();

  const std::shared_ptr<grpc::Channel> channel_;
  const Options options_;
  LoaderMetrics* const metrics_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_COORDINATOR_HEARTBEAT_H_
