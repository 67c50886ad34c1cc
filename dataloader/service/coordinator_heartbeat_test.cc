#include "dataloader/service/coordinator_heartbeat.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <deque>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/mutex.h"

namespace bert::loader {
namespace {

class FakeCoordinator : public v1::WorkerService::Service {
 public:
  FakeCoordinator() {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeCoordinator() override { server_->Shutdown(); }

  std::shared_ptr<grpc::Channel> Channel() { return server_->InProcessChannel({}); }

  void FailNext(const grpc::Status& status) {
    MutexLock lock(&mutex_);
    failures_.push_back(status);
  }

  // The first `count` heartbeats that were answered with OK; fewer after 20 s.
  std::vector<v1::LoaderHeartbeatRequest> WaitForHeartbeats(size_t count) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    MutexLock lock(&mutex_);
    while (heard_.size() < count && absl::Now() < deadline) changed_.WaitFor(&mutex_, deadline - absl::Now());
    return heard_;
  }

 private:
  grpc::Status LoaderHeartbeat(grpc::ServerContext*, const v1::LoaderHeartbeatRequest* request,
                               v1::LoaderHeartbeatResponse* response) override {
    MutexLock lock(&mutex_);
    if (!failures_.empty()) {
      grpc::Status status = failures_.front();
      failures_.pop_front();
      return status;
    }
    heard_.push_back(*request);
    changed_.SignalAll();
    response->mutable_heartbeat_interval()->set_nanos(10'000'000);
    return grpc::Status::OK;
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<grpc::Status> failures_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::LoaderHeartbeatRequest> heard_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

TEST(CoordinatorHeartbeatTest, ComesAgainAndAgainAndSurvivesFailures) {
  FakeCoordinator coordinator;
  coordinator.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "starting"));
  coordinator.FailNext(grpc::Status(grpc::StatusCode::INTERNAL, "broken"));
  LoaderMetrics metrics;
  CoordinatorHeartbeat heartbeat(
      coordinator.Channel(),
      {.address = "10.0.0.9:7410", .version = "1.2.3", .open_streams = [] { return int64_t{4}; }, .seed = 1}, &metrics);
  const auto heard = coordinator.WaitForHeartbeats(3);
  ASSERT_GE(heard.size(), 3u);
  EXPECT_EQ(heard[2].address(), "10.0.0.9:7410");
  EXPECT_EQ(heard[2].version(), "1.2.3");
  EXPECT_EQ(heard[2].open_streams(), 4);
  EXPECT_EQ(metrics.heartbeats_failed.Value(), 2);
  EXPECT_GE(metrics.heartbeats_ok.Value(), 2);
}

TEST(CoordinatorHeartbeatTest, EndsWhileTheCoordinatorIsAway) {
  LoaderMetrics metrics;
  FakeCoordinator coordinator;
  for (int i = 0; i < 1000; ++i) coordinator.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "away"));
  auto heartbeat = std::make_unique<CoordinatorHeartbeat>(
      coordinator.Channel(),
      CoordinatorHeartbeat::Options{.address = "a:1", .version = "1", .open_streams = [] { return int64_t{0}; }},
      &metrics);
  heartbeat = nullptr;
  EXPECT_EQ(metrics.heartbeats_ok.Value(), 0);
}

}  // namespace
}  // namespace bert::loader
