// For tests: a WorkerService on a real port that answers as told and keeps what it hears.
#ifndef BERT_WORKER_AGENT_FAKE_COORDINATOR_H_
#define BERT_WORKER_AGENT_FAKE_COORDINATOR_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/check.h"
#include "common/mutex.h"
#include "worker/agent/reconciler.h"

namespace bert::agent {

// Thread-safe.
class FakeCoordinator : public v1::WorkerService::Service {
 public:
  // What it has heard, and what it answers. Change and read it under Use or WaitFor.
  struct State {
    std::vector<v1::RegisterNodeRequest> registrations;
    v1::HeartbeatRequest last_heartbeat;
    int heartbeats = 0;
    std::vector<v1::Assignment> assignments;
    std::map<RankKey, std::vector<std::string>> logs;
    int uploads = 0;
    // Each is used up by one call; then calls succeed.
    std::deque<grpc::Status> register_statuses;
    std::deque<grpc::Status> heartbeat_statuses;
    std::deque<grpc::Status> upload_statuses;
    // A failing upload stores its lines all the same: the answer was lost, not the request.
    bool store_on_failure = false;
  };

  FakeCoordinator() { Start(); }
  ~FakeCoordinator() override { StopServing(); }

  void Start() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address_.empty() ? "127.0.0.1:0" : address_, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    BERT_CHECK(server_ != nullptr) << "cannot listen";
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  // Until Start, nobody answers at its address.
  void StopServing() {
    if (server_ == nullptr) return;
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_->Wait();
    server_.reset();
  }

  const std::string& address() const { return address_; }
  std::shared_ptr<grpc::Channel> Channel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
    return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  }

  void Use(const std::function<void(State&)>& change) {
    MutexLock lock(&mutex_);
    change(state_);
    changed_.SignalAll();
  }
  // Waits for `condition`; false after 20 s.
  bool WaitFor(const std::function<bool(const State&)>& condition) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    MutexLock lock(&mutex_);
    while (!condition(state_)) {
      if (absl::Now() >= deadline) return false;
      changed_.WaitFor(&mutex_, deadline - absl::Now());
    }
    return true;
  }
  State Snapshot() {
    MutexLock lock(&mutex_);
    return state_;
  }

 private:
  grpc::Status RegisterNode(grpc::ServerContext*, const v1::RegisterNodeRequest* request,
                            v1::RegisterNodeResponse* response) override {
    MutexLock lock(&mutex_);
    changed_.SignalAll();
    state_.registrations.push_back(*request);
    response->mutable_heartbeat_interval()->set_nanos(20'000'000);
    response->mutable_lease()->set_seconds(60);
    return Take(state_.register_statuses);
  }

  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    MutexLock lock(&mutex_);
    changed_.SignalAll();
    if (request->incarnation() != state_.registrations.back().incarnation()) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "an older incarnation");
    }
    const grpc::Status status = Take(state_.heartbeat_statuses);
    if (!status.ok()) return status;
    ++state_.heartbeats;
    state_.last_heartbeat = *request;
    *response->mutable_assignments() = {state_.assignments.begin(), state_.assignments.end()};
    return grpc::Status::OK;
  }

  grpc::Status UploadLogs(grpc::ServerContext*, const v1::UploadLogsRequest* request,
                          v1::UploadLogsResponse* response) override {
    MutexLock lock(&mutex_);
    changed_.SignalAll();
    ++state_.uploads;
    const grpc::Status status = Take(state_.upload_statuses);
    for (const v1::LogChunk& chunk : request->chunks()) {
      std::vector<std::string>& stored = state_.logs[{chunk.job_id(), chunk.generation(), chunk.rank()}];
      if (status.ok() || state_.store_on_failure) {
        for (int i = 0; i < chunk.lines_size(); ++i) {
          // Only the next one: neither gaps nor doubles.
          if (chunk.first_line() + i == static_cast<int64_t>(stored.size())) stored.push_back(chunk.lines(i).text());
        }
      }
      v1::LogPosition& position = *response->add_positions();
      position.set_job_id(chunk.job_id());
      position.set_generation(chunk.generation());
      position.set_rank(chunk.rank());
      position.set_next_line(static_cast<int64_t>(stored.size()));
    }
    return status;
  }

  static grpc::Status Take(std::deque<grpc::Status>& statuses) {
    if (statuses.empty()) return grpc::Status::OK;
    grpc::Status status = statuses.front();
    statuses.pop_front();
    return status;
  }

  Mutex mutex_;
  CondVar changed_;
  State state_ ABSL_GUARDED_BY(mutex_);
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_FAKE_COORDINATOR_H_
