#include "coordinator/job_service.h"

#include <algorithm>
#include <memory>

#include "common/status_macros.h"
#include "coordinator/job_streams.h"
#include "coordinator/serve.h"

namespace bert::coordinator {
namespace {

constexpr int32_t kPointsMax = 10'000;

// A stream that ends at once.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  explicit RefusedStream(const absl::Status& status) { this->Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::Status JobService::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                   v1::SubmitJobResponse* response) {
  return Serve(*parts_.metrics, "SubmitJob", response, [&]() -> absl::StatusOr<v1::SubmitJobResponse> {
    v1::SubmitJobResponse answer;
    ASSIGN_OR_RETURN(*answer.mutable_job(), parts_.coordinator->SubmitJob(*request));
    return answer;
  });
}

grpc::Status JobService::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::GetJobResponse* response) {
  return Serve(*parts_.metrics, "GetJob", response, [&]() -> absl::StatusOr<v1::GetJobResponse> {
    v1::GetJobResponse answer;
    ASSIGN_OR_RETURN(*answer.mutable_job(), parts_.coordinator->GetJob(request->job_id()));
    return answer;
  });
}

grpc::Status JobService::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                  v1::ListJobsResponse* response) {
  return Serve(*parts_.metrics, "ListJobs", response, [&] { return parts_.coordinator->ListJobs(*request); });
}

grpc::Status JobService::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                   v1::CancelJobResponse* response) {
  return Serve(*parts_.metrics, "CancelJob", response, [&]() -> absl::StatusOr<v1::CancelJobResponse> {
    v1::CancelJobResponse answer;
    ASSIGN_OR_RETURN(*answer.mutable_job(), parts_.coordinator->CancelJob(*request, /*user=*/""));
    return answer;
  });
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(grpc::CallbackServerContext*,
                                                                     const v1::WatchJobRequest* request) {
  const absl::Status known = parts_.coordinator->GetJob(request->job_id()).status();
  parts_.metrics->CountRpc("WatchJob", known, absl::ZeroDuration());
  if (!known.ok()) return new RefusedStream<v1::WatchJobResponse>(known);
  return WatchStream::Open(
      std::make_shared<WatchStream>(parts_.pump, parts_.coordinator, parts_.clock, JobId(request->job_id())));
}

grpc::ServerWriteReactor<v1::StreamJobLogsResponse>* JobService::StreamJobLogs(
    grpc::CallbackServerContext*, const v1::StreamJobLogsRequest* request) {
  const absl::Status known = parts_.coordinator->GetJob(request->job_id()).status();
  parts_.metrics->CountRpc("StreamJobLogs", known, absl::ZeroDuration());
  if (!known.ok()) return new RefusedStream<v1::StreamJobLogsResponse>(known);
  return LogStream::Open(
      std::make_shared<LogStream>(parts_.pump, parts_.coordinator, parts_.logs, parts_.clock, *request));
}

grpc::Status JobService::ListSteps(grpc::ServerContext*, const v1::ListStepsRequest* request,
                                   v1::ListStepsResponse* response) {
  return Serve(*parts_.metrics, "ListSteps", response, [&]() -> absl::StatusOr<v1::ListStepsResponse> {
    RETURN_IF_ERROR(parts_.coordinator->GetJob(request->job_id()).status());
    const int32_t points = request->max_points() > 0 ? std::min(request->max_points(), kPointsMax) : kPointsMax;
    return parts_.history->ListSteps(JobId(request->job_id()), request->after_step(), points);
  });
}

grpc::Status JobService::ListJobEvents(grpc::ServerContext*, const v1::ListJobEventsRequest* request,
                                       v1::ListJobEventsResponse* response) {
  return Serve(*parts_.metrics, "ListJobEvents", response, [&]() -> absl::StatusOr<v1::ListJobEventsResponse> {
    RETURN_IF_ERROR(parts_.coordinator->GetJob(request->job_id()).status());
    return parts_.history->ListEvents(JobId(request->job_id()));
  });
}

}  // namespace bert::coordinator
