// bert.v1.NodeService over the Coordinator.
#ifndef BERT_COORDINATOR_NODE_SERVICE_H_
#define BERT_COORDINATOR_NODE_SERVICE_H_

#include "bert/v1/nodes.grpc.pb.h"
#include "coordinator/coordinator.h"
#include "coordinator/metrics.h"

namespace bert::coordinator {

// Thread-safe.
class NodeService final : public v1::NodeService::Service {
 public:
  // Both outlive the service.
  NodeService(Coordinator* coordinator, CoordinatorMetrics* metrics) : coordinator_(coordinator), metrics_(metrics) {}

  grpc::Status ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*, v1::ListNodesResponse*) override;

 private:
  Coordinator* const coordinator_;
  CoordinatorMetrics* const metrics_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_NODE_SERVICE_H_
