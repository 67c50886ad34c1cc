// bert.v1.WorkerService over the Coordinator and the logs.
#ifndef BERT_COORDINATOR_WORKER_SERVICE_H_
#define BERT_COORDINATOR_WORKER_SERVICE_H_

#include "bert/v1/worker.grpc.pb.h"
#include "coordinator/coordinator.h"
#include "coordinator/log_store.h"
#include "coordinator/metrics.h"

namespace bert::coordinator {

// JoinRendezvous is a callback method, so that ranks that wait hold no thread; the rest are short. Thread-safe.
class WorkerService final : public v1::WorkerService::WithCallbackMethod_JoinRendezvous<v1::WorkerService::Service> {
 public:
  // All outlive the service.
  WorkerService(Coordinator* coordinator, LogStore* logs, CoordinatorMetrics* metrics)
      : coordinator_(coordinator), logs_(logs), metrics_(metrics) {}

  grpc::Status RegisterNode(grpc::ServerContext*, const v1::RegisterNodeRequest*, v1::RegisterNodeResponse*) override;
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*, v1::HeartbeatResponse*) override;
  grpc::Status UploadLogs(grpc::ServerContext*, const v1::UploadLogsRequest*, v1::UploadLogsResponse*) override;
  grpc::ServerUnaryReactor* JoinRendezvous(grpc::CallbackServerContext*, const v1::JoinRendezvousRequest*,
                                           v1::JoinRendezvousResponse*) override;
  grpc::Status ReportProgress(grpc::ServerContext*, const v1::ReportProgressRequest*,
                              v1::ReportProgressResponse*) override;
  grpc::Status CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest*,
                                v1::CommitCheckpointResponse*) override;
  grpc::Status LoaderHeartbeat(grpc::ServerContext*, const v1::LoaderHeartbeatRequest*,
                               v1::LoaderHeartbeatResponse*) override;

 private:
  absl::StatusOr<v1::UploadLogsResponse> StoreLogs(const v1::UploadLogsRequest& request);
  absl::StatusOr<v1::ReportProgressResponse> StoreProgress(const v1::ReportProgressRequest& request);

  Coordinator* const coordinator_;
  LogStore* const logs_;
  CoordinatorMetrics* const metrics_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_WORKER_SERVICE_H_
