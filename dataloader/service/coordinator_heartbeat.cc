#include "dataloader/service/coordinator_heartbeat.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/backoff.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"

namespace bert::loader {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(5);
constexpr absl::Duration kRetryInitial = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(2);
// What a coordinator may ask for; outside of this something is wrong with it.
constexpr absl::Duration kIntervalMin = absl::Milliseconds(10);
constexpr absl::Duration kIntervalMax = absl::Seconds(60);

}  // namespace

CoordinatorHeartbeat::CoordinatorHeartbeat(std::shared_ptr<grpc::Channel> channel, Options options,
                                           LoaderMetrics* metrics)
    : channel_(std::move(channel)), options_(std::move(options)), metrics_(metrics) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "heartbeat");
    Run();
  });
}

CoordinatorHeartbeat::~CoordinatorHeartbeat() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    if (call_ != nullptr) call_->TryCancel();
    changed_.SignalAll();
  }
  thread_.join();
}

void CoordinatorHeartbeat::Run() {
  Backoff backoff(kRetryInitial, kRetryMax, options_.seed);
  bool known = false;
  bool failed = false;
  while (true) {
    const absl::StatusOr<absl::Duration> interval = Send();
    absl::Duration wait = absl::ZeroDuration();
    if (interval.ok()) {
      if (!known) spdlog::info("the coordinator knows this dataloader address={}", options_.address);
      metrics_->heartbeats_ok.Increment();
      known = true;
      failed = false;
      backoff.Reset();
      wait = std::clamp(*interval, kIntervalMin, kIntervalMax);
    } else {
      wait = backoff.Next();
    }
    MutexLock lock(&mutex_);
    if (stopping_) return;
    if (!interval.ok()) {
      metrics_->heartbeats_failed.Increment();
      // Once for each time it is away, not once for each attempt.
      if (!failed)
        spdlog::warn("no answer from the coordinator, trying on: {}", std::string(interval.status().message()));
      failed = true;
      known = false;
    }
    const absl::Time until = absl::Now() + wait;
    while (!stopping_ && absl::Now() < until) changed_.WaitFor(&mutex_, until - absl::Now());
    if (stopping_) return;
  }
}

absl::StatusOr<absl::Duration> CoordinatorHeartbeat::Send() {
  v1::LoaderHeartbeatRequest request;
  request.set_address(options_.address);
  request.set_version(options_.version);
  request.set_open_streams(options_.open_streams());
  v1::LoaderHeartbeatResponse response;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
  {
    MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    call_ = &context;
  }
  const grpc::Status status = v1::WorkerService::NewStub(channel_)->LoaderHeartbeat(&context, request, &response);
  {
    MutexLock lock(&mutex_);
    call_ = nullptr;
  }
  RETURN_IF_ERROR(FromGrpc(status));
  return absl::Seconds(response.heartbeat_interval().seconds()) +
         absl::Nanoseconds(response.heartbeat_interval().nanos());
}

}  // namespace bert::loader
