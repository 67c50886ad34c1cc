// A coordinator that answers what a test tells it to, over real gRPC.
#ifndef BERT_BERTCTL_FAKE_COORDINATOR_H_
#define BERT_BERTCTL_FAKE_COORDINATOR_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bert/v1/checkpoints.grpc.pb.h"
#include "bert/v1/jobs.grpc.pb.h"
#include "bert/v1/nodes.grpc.pb.h"
#include "common/mutex.h"
#include "common/rpc/server.h"

namespace bert::ctl {

// Serves on the loopback interface from construction until Stop or destruction. Thread-safe.
class FakeCoordinator : v1::JobService::Service, v1::CheckpointService::Service, v1::NodeService::Service {
 public:
  FakeCoordinator();
  ~FakeCoordinator() override;

  const std::string& address() const { return address_; }
  // Streams under way end as those of a process that goes away.
  void Stop();
  // Again, at the same address.
  void Restart();

  // What SubmitJob answers with, and what GetJob, ListJobs and CancelJob know.
  void AddJob(const v1::Job& job);
  // The next calls of any unary method fail so, one after the other.
  void FailNext(const grpc::Status& status);
  // What one WatchJob stream says before it ends with `status`, or waits for Stop where `stays_open`. The streams take
  // the scripts in order.
  struct WatchScript {
    std::vector<v1::Job> jobs;
    bool stays_open = false;
    grpc::Status status = grpc::Status::OK;
  };
  void AddWatch(WatchScript script);
  // Until a WatchJob stream has said all of its script.
  void WaitForWatch();
  // Log lines get sequence numbers from 1. A stream breaks with UNAVAILABLE once `lines` more were sent.
  void AddLogLine(int rank, const std::string& text);
  void BreakLogsAfter(int lines);

  void set_nodes(const v1::ListNodesResponse& nodes);
  void set_checkpoints(const v1::ListCheckpointsResponse& checkpoints);
  void set_events(const v1::ListJobEventsResponse& events);

  std::vector<v1::SubmitJobRequest> submits() const;
  std::vector<v1::CancelJobRequest> cancels() const;
  std::vector<v1::StreamJobLogsRequest> log_requests() const;

 private:
  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest*, v1::SubmitJobResponse*) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::GetJobResponse*) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*, v1::ListJobsResponse*) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest*, v1::CancelJobResponse*) override;
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest*,
                        grpc::ServerWriter<v1::WatchJobResponse>*) override;
  grpc::Status StreamJobLogs(grpc::ServerContext*, const v1::StreamJobLogsRequest*,
                             grpc::ServerWriter<v1::StreamJobLogsResponse>*) override;
  grpc::Status ListJobEvents(grpc::ServerContext*, const v1::ListJobEventsRequest*,
                             v1::ListJobEventsResponse*) override;
  grpc::Status ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse*) override;
  grpc::Status ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*, v1::ListNodesResponse*) override;

  void Start(const std::string& listen);
  grpc::Status Find(const std::string& id, v1::Job* job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // OK where no failure is planned.
  grpc::Status PlannedFailure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitUntilOver(grpc::ServerContext& context);

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, v1::Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::string submitted_id_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::Status> failures_ ABSL_GUARDED_BY(mutex_);
  std::deque<WatchScript> watches_ ABSL_GUARDED_BY(mutex_);
  int watches_said_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<v1::LogLine> log_ ABSL_GUARDED_BY(mutex_);
  int log_lines_to_break_ ABSL_GUARDED_BY(mutex_) = -1;
  v1::ListNodesResponse nodes_ ABSL_GUARDED_BY(mutex_);
  v1::ListCheckpointsResponse checkpoints_ ABSL_GUARDED_BY(mutex_);
  v1::ListJobEventsResponse events_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SubmitJobRequest> submits_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CancelJobRequest> cancels_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::StreamJobLogsRequest> log_requests_ ABSL_GUARDED_BY(mutex_);

  std::string address_;
  std::unique_ptr<RpcServer> server_;
};

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_FAKE_COORDINATOR_H_
