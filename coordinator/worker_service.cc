#include "coordinator/worker_service.h"

#include <atomic>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "coordinator/serve.h"

namespace bert::coordinator {
namespace {

constexpr size_t kLogBytesMax = 1 << 20;

// One rank that waits. Owned by gRPC until OnDone and by the callback until it has been called.
class JoinReactor final : public grpc::ServerUnaryReactor, public std::enable_shared_from_this<JoinReactor> {
 public:
  JoinReactor(Coordinator* coordinator, CoordinatorMetrics* metrics, v1::JoinRendezvousResponse* response)
      : coordinator_(coordinator), metrics_(metrics), response_(response) {}

  void Start(const v1::JoinRendezvousRequest& request) {
    self_ = shared_from_this();
    job_id_ = request.job_id();
    const uint64_t id = coordinator_->JoinRendezvous(
        request,
        [self = self_](absl::StatusOr<v1::JoinRendezvousResponse> result) { self->Answer(std::move(result)); });
    join_id_ = id;
    // Cancelled before the id was known.
    if (answered_) coordinator_->AbandonJoin(job_id_, id);
  }

  void OnCancel() override {
    Answer(absl::CancelledError("the caller has gone"));
    if (join_id_ != 0) coordinator_->AbandonJoin(job_id_, join_id_);
  }
  void OnDone() override { self_ = nullptr; }

 private:
  void Answer(absl::StatusOr<v1::JoinRendezvousResponse> result) {
    if (answered_.exchange(true)) return;
    metrics_->CountRpc("JoinRendezvous", result.status(), absl::Now() - start_);
    if (result.ok()) *response_ = *std::move(result);
    Finish(ToGrpc(result.status()));
  }

  Coordinator* const coordinator_;
  CoordinatorMetrics* const metrics_;
  v1::JoinRendezvousResponse* const response_;
  const absl::Time start_ = absl::Now();
  std::string job_id_;
  std::atomic<uint64_t> join_id_ = 0;
  std::atomic<bool> answered_ = false;
  std::shared_ptr<JoinReactor> self_;
};

}  // namespace

grpc::Status WorkerService::RegisterNode(grpc::ServerContext*, const v1::RegisterNodeRequest* request,
                                         v1::RegisterNodeResponse* response) {
  return Serve(*metrics_, "RegisterNode", response, [&] { return coordinator_->RegisterNode(*request); });
}

grpc::Status WorkerService::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) {
  return Serve(*metrics_, "Heartbeat", response, [&] { return coordinator_->Heartbeat(*request); });
}

grpc::Status WorkerService::UploadLogs(grpc::ServerContext*, const v1::UploadLogsRequest* request,
                                       v1::UploadLogsResponse* response) {
  return Serve(*metrics_, "UploadLogs", response, [&] { return StoreLogs(*request); });
}

absl::StatusOr<v1::UploadLogsResponse> WorkerService::StoreLogs(const v1::UploadLogsRequest& request) {
  RETURN_IF_ERROR(coordinator_->CheckAgent(request.node(), request.incarnation()));
  // The lines' texts make up nearly all of it.
  if (request.ByteSizeLong() > 2 * kLogBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kLogBytesMax, " bytes of lines in one call"));
  }
  v1::UploadLogsResponse response;
  for (const v1::LogChunk& chunk : request.chunks()) {
    if (!coordinator_->GetJob(chunk.job_id()).ok()) {
      // Of a job that nobody can ask about; the agent is to go on all the same.
      v1::LogPosition& position = *response.add_positions();
      position.set_job_id(chunk.job_id());
      position.set_generation(chunk.generation());
      position.set_rank(chunk.rank());
      position.set_next_line(chunk.first_line() + chunk.lines_size());
      continue;
    }
    ASSIGN_OR_RETURN(*response.add_positions(), logs_->Append(chunk, request.node()));
  }
  RETURN_IF_ERROR(logs_->Flush());
  return response;
}

grpc::ServerUnaryReactor* WorkerService::JoinRendezvous(grpc::CallbackServerContext*,
                                                        const v1::JoinRendezvousRequest* request,
                                                        v1::JoinRendezvousResponse* response) {
  auto reactor = std::make_shared<JoinReactor>(coordinator_, metrics_, response);
  reactor->Start(*request);
  return reactor.get();
}

grpc::Status WorkerService::ReportProgress(grpc::ServerContext*, const v1::ReportProgressRequest* request,
                                           v1::ReportProgressResponse* response) {
  return Serve(*metrics_, "ReportProgress", response, [&] { return StoreProgress(*request); });
}

absl::StatusOr<v1::ReportProgressResponse> WorkerService::StoreProgress(const v1::ReportProgressRequest& request) {
  absl::StatusOr<v1::ReportProgressResponse> response = coordinator_->ReportProgress(request);
  // What is acknowledged is never sent again, so it must survive this process. One file holds history and logs.
  if (response.ok() && request.steps_size() + request.validations_size() > 0) RETURN_IF_ERROR(logs_->Flush());
  return response;
}

grpc::Status WorkerService::CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest* request,
                                             v1::CommitCheckpointResponse* response) {
  return Serve(*metrics_, "CommitCheckpoint", response, [&] { return coordinator_->CommitCheckpoint(*request); });
}

grpc::Status WorkerService::LoaderHeartbeat(grpc::ServerContext*, const v1::LoaderHeartbeatRequest* request,
                                            v1::LoaderHeartbeatResponse* response) {
  return Serve(*metrics_, "LoaderHeartbeat", response, [&] { return coordinator_->LoaderHeartbeat(*request); });
}

}  // namespace bert::coordinator
