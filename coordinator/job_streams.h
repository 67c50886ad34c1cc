// The two server streams of JobService.
#ifndef BERT_COORDINATOR_JOB_STREAMS_H_
#define BERT_COORDINATOR_JOB_STREAMS_H_

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/coordinator.h"
#include "coordinator/log_store.h"
#include "coordinator/stream_pump.h"

namespace bert::coordinator {

// Sends what Next gives, whenever the pump asks, until it says that it was the last. Owns itself: lives until gRPC is
// done with it and the pump has let go of it.
template <typename Response>
class JobStream : public grpc::ServerWriteReactor<Response>, public PumpedStream {
 public:
  explicit JobStream(StreamPump* pump) : pump_(pump) {}

  // Puts `stream` to work.
  static grpc::ServerWriteReactor<Response>* Open(std::shared_ptr<JobStream> stream) {
    JobStream* const raw = stream.get();
    raw->self_ = stream;
    raw->pump_->Add(std::move(stream));
    return raw;
  }

  void Poll() override {
    MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    bool last = false;
    const absl::Status status = Next(response_, writing_, last);
    if (writing_) {
      this->StartWrite(&response_);
    } else if (last || !status.ok()) {
      Finish(status);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mutex_);
      writing_ = false;
      if ((!ok || cancelled_) && !finished_) Finish(absl::CancelledError("the caller has gone"));
    }
    pump_->Wake();
  }
  void OnCancel() override {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    if (!writing_ && !finished_) Finish(absl::CancelledError("the caller has gone"));
  }
  void OnDone() override {
    const std::shared_ptr<PumpedStream> self = std::move(self_);
    pump_->Remove(self);
  }

 protected:
  // Fills `response` and sets `ready`, or sets `last` (there will be no more), or neither (nothing is due).
  virtual absl::Status Next(Response& response, bool& ready, bool& last) = 0;

 private:
  void Finish(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    finished_ = true;
    grpc::ServerWriteReactor<Response>::Finish(ToGrpc(status));
  }

  StreamPump* const pump_;
  std::shared_ptr<PumpedStream> self_;
  Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  Response response_;
};

// The job, now and after each change, at most twice a second; the last one shows how it ended.
class WatchStream final : public JobStream<v1::WatchJobResponse> {
 public:
  WatchStream(StreamPump* pump, const Coordinator* coordinator, Clock* clock, JobId job)
      : JobStream(pump), coordinator_(coordinator), clock_(clock), job_(std::move(job)) {}

 private:
  absl::Status Next(v1::WatchJobResponse& response, bool& ready, bool& last) override;

  const Coordinator* const coordinator_;
  Clock* const clock_;
  const JobId job_;
  uint64_t version_ = 0;
  absl::Duration next_write_ = -absl::InfiniteDuration();
  bool ended_ = false;
};

// Log lines; with follow, until a little after the job has ended: a rank's last lines come after its exit.
class LogStream final : public JobStream<v1::StreamJobLogsResponse> {
 public:
  LogStream(StreamPump* pump, const Coordinator* coordinator, LogStore* logs, Clock* clock,
            const v1::StreamJobLogsRequest& request)
      : JobStream(pump),
        coordinator_(coordinator),
        logs_(logs),
        clock_(clock),
        request_(request),
        job_(request.job_id()) {}

 private:
  absl::Status Next(v1::StreamJobLogsResponse& response, bool& ready, bool& last) override;
  // Ended so long ago that no more lines come.
  bool IsOver(const v1::Job& job);

  const Coordinator* const coordinator_;
  LogStore* const logs_;
  Clock* const clock_;
  const v1::StreamJobLogsRequest request_;
  const JobId job_;
  bool begun_ = false;
  int64_t position_ = 0;
  std::optional<absl::Duration> end_seen_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_JOB_STREAMS_H_
