// bert.v1.JobService over the Coordinator, its history and its logs.
#ifndef BERT_COORDINATOR_JOB_SERVICE_H_
#define BERT_COORDINATOR_JOB_SERVICE_H_

#include "bert/v1/jobs.grpc.pb.h"
#include "coordinator/coordinator.h"
#include "coordinator/history.h"
#include "coordinator/log_store.h"
#include "coordinator/metrics.h"
#include "coordinator/stream_pump.h"

namespace bert::coordinator {

// The two streams are callback methods, so that one that is open holds no thread; the rest are short. Thread-safe.
class JobService final : public v1::JobService::WithCallbackMethod_WatchJob<
                             v1::JobService::WithCallbackMethod_StreamJobLogs<v1::JobService::Service>> {
 public:
  // All outlive the service.
  struct Parts {
    Coordinator* coordinator;
    History* history;
    LogStore* logs;
    StreamPump* pump;
    Clock* clock;
    CoordinatorMetrics* metrics;
  };

  explicit JobService(Parts parts) : parts_(parts) {}

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest*, v1::SubmitJobResponse*) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::GetJobResponse*) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*, v1::ListJobsResponse*) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest*, v1::CancelJobResponse*) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext*,
                                                           const v1::WatchJobRequest*) override;
  grpc::ServerWriteReactor<v1::StreamJobLogsResponse>* StreamJobLogs(grpc::CallbackServerContext*,
                                                                     const v1::StreamJobLogsRequest*) override;
  grpc::Status ListSteps(grpc::ServerContext*, const v1::ListStepsRequest*, v1::ListStepsResponse*) override;
  grpc::Status ListJobEvents(grpc::ServerContext*, const v1::ListJobEventsRequest*,
                             v1::ListJobEventsResponse*) override;

 private:
  const Parts parts_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_JOB_SERVICE_H_
