// bert.v1.CheckpointService over the Coordinator.
#ifndef BERT_COORDINATOR_CHECKPOINT_SERVICE_H_
#define BERT_COORDINATOR_CHECKPOINT_SERVICE_H_

#include "bert/v1/checkpoints.grpc.pb.h"
#include "coordinator/coordinator.h"
#include "coordinator/metrics.h"

namespace bert::coordinator {

// Thread-safe.
class CheckpointService final : public v1::CheckpointService::Service {
 public:
  // Both outlive the service.
  CheckpointService(Coordinator* coordinator, CoordinatorMetrics* metrics)
      : coordinator_(coordinator), metrics_(metrics) {}

  grpc::Status ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse*) override;

 private:
  Coordinator* const coordinator_;
  CoordinatorMetrics* const metrics_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_CHECKPOINT_SERVICE_H_
