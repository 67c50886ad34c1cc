#include "coordinator/checkpoint_service.h"

#include "coordinator/serve.h"

namespace bert::coordinator {

grpc::Status CheckpointService::ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest* request,
                                                v1::ListCheckpointsResponse* response) {
  return Serve(*metrics_, "ListCheckpoints", response,
               [&] { return coordinator_->ListCheckpoints(request->job_id()); });
}

}  // namespace bert::coordinator
