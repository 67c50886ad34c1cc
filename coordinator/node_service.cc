#include "coordinator/node_service.h"

#include "coordinator/serve.h"

namespace bert::coordinator {

grpc::Status NodeService::ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*,
                                    v1::ListNodesResponse* response) {
  return Serve(*metrics_, "ListNodes", response,
               [&]() -> absl::StatusOr<v1::ListNodesResponse> { return coordinator_->ListNodes(); });
}

}  // namespace bert::coordinator
