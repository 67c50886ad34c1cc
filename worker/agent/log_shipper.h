// Sends the ranks' log lines to the coordinator.
#ifndef BERT_WORKER_AGENT_LOG_SHIPPER_H_
#define BERT_WORKER_AGENT_LOG_SHIPPER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/mutex.h"
#include "worker/agent/agent_metrics.h"
#include "worker/agent/reconciler.h"

namespace bert::agent {

// Lines of a rank are numbered from 0 as they are appended and stay in memory until the coordinator has acknowledged
// them; what it says it has decides where the next upload goes on, so a lost request or answer loses and doubles
// nothing. While it is away, at most `window_bytes_max` of a rank are held: then the oldest lines that were never sent
// give way to one line that says how many are missing (the log file on the node has them).
//
// One thread of its own, joined by the destructor. Thread-safe.
class LogShipper {
 public:
  struct Options {
    std::string node;
    // Text of one request; the service takes 1 MiB.
    size_t upload_bytes_max = 512 << 10;
    size_t window_bytes_max = 4 << 20;
    // Lines that come within this time go together.
    absl::Duration linger = absl::Milliseconds(100);
    absl::Duration call_timeout = absl::Seconds(10);
    absl::Duration backoff_initial = absl::Milliseconds(100);
    absl::Duration backoff_max = absl::Seconds(2);
    uint64_t seed = 0;
  };

  // `metrics` outlives this.
  LogShipper(std::shared_ptr<grpc::Channel> channel, Options options, AgentMetrics* metrics);
  // Does not wait for lines that are not acknowledged: Flush first.
  ~LogShipper();
  LogShipper(const LogShipper&) = delete;
  LogShipper& operator=(const LogShipper&) = delete;

  // Nothing is sent before the first call.
  void SetIncarnation(const std::string& incarnation);
  // `text` is valid UTF-8 without a line end.
  void Append(const RankKey& key, absl::Time time, std::string text);
  // Nothing more comes from this rank; it is forgotten once all is acknowledged.
  void Close(const RankKey& key);
  // Waits until everything appended so far is acknowledged. False when the time is over first.
  bool Flush(absl::Duration timeout);

 private:
  struct Line {
    absl::Time time;
    std::string text;
    // Where positive, this stands for so many lines.
    int64_t dropped = 0;
  };
  struct Stream {
    // Number of lines.front().
    int64_t base = 0;
    std::deque<Line> lines;
    size_t bytes = 0;
    // Lines at the front that a request has carried: their numbers are fixed.
    size_t sent = 0;
    bool closed = false;
  };

  void Run();
  bool HasLines() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False when this object is to end.
  bool WaitForLines() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::UploadLogsRequest BuildRequest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the answer moved any rank on.
  bool Acknowledge(const v1::UploadLogsRequest& request, const v1::UploadLogsResponse& response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes the lines of `request` as done with: the coordinator will never take them.
  void Discard(const v1::UploadLogsRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Advance(Stream& stream, int64_t next_line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeRoom(Stream& stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  AgentMetrics* const metrics_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;

  Mutex mutex_;
  // For the thread: something to send, a flush, the end.
  CondVar work_;
  // For Flush: nothing is left.
  CondVar drained_;
  std::map<RankKey, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::string incarnation_ ABSL_GUARDED_BY(mutex_);
  int flushers_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // The call under way, for the destructor to cancel.
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_LOG_SHIPPER_H_
