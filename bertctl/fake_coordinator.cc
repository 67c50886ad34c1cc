#include "bertctl/fake_coordinator.h"

#include "common/check.h"

namespace bert::ctl {

FakeCoordinator::FakeCoordinator() { Start("127.0.0.1:0"); }

FakeCoordinator::~FakeCoordinator() { Stop(); }

void FakeCoordinator::Start(const std::string& listen) {
  CredentialFlags credentials;
  credentials.insecure = true;
  auto server = RpcServer::Start({.listen = listen, .credentials = credentials, .configure = [this](auto& builder) {
                                    builder.RegisterService(static_cast<v1::JobService::Service*>(this));
                                    builder.RegisterService(static_cast<v1::CheckpointService::Service*>(this));
                                    builder.RegisterService(static_cast<v1::NodeService::Service*>(this));
                                  }});
  BERT_CHECK(server.ok()) << server.status();
  server_ = std::move(*server);
  address_ = server_->address();
}

void FakeCoordinator::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  server_ = nullptr;
}

void FakeCoordinator::Restart() {
  {
    MutexLock lock(&mutex_);
    stopping_ = false;
  }
  Start(address_);
}

void FakeCoordinator::AddJob(const v1::Job& job) {
  MutexLock lock(&mutex_);
  jobs_[job.id()] = job;
  submitted_id_ = job.id();
}

void FakeCoordinator::FailNext(const grpc::Status& status) {
  MutexLock lock(&mutex_);
  failures_.push_back(status);
}

void FakeCoordinator::AddWatch(WatchScript script) {
  MutexLock lock(&mutex_);
  watches_.push_back(std::move(script));
}

void FakeCoordinator::WaitForWatch() {
  MutexLock lock(&mutex_);
  while (watches_said_ == 0) changed_.Wait(&mutex_);
}

void FakeCoordinator::AddLogLine(int rank, const std::string& text) {
  MutexLock lock(&mutex_);
  v1::LogLine line;
  line.set_sequence(static_cast<int64_t>(log_.size()) + 1);
  line.set_rank(rank);
  line.set_text(text);
  line.mutable_time()->set_seconds(line.sequence());
  log_.push_back(std::move(line));
}

void FakeCoordinator::BreakLogsAfter(int lines) {
  MutexLock lock(&mutex_);
  log_lines_to_break_ = lines;
}

void FakeCoordinator::set_nodes(const v1::ListNodesResponse& nodes) {
  MutexLock lock(&mutex_);
  nodes_ = nodes;
}

void FakeCoordinator::set_checkpoints(const v1::ListCheckpointsResponse& checkpoints) {
  MutexLock lock(&mutex_);
  checkpoints_ = checkpoints;
}

void FakeCoordinator::set_events(const v1::ListJobEventsResponse& events) {
  MutexLock lock(&mutex_);
  events_ = events;
}

std::vector<v1::SubmitJobRequest> FakeCoordinator::submits() const {
  MutexLock lock(&mutex_);
  return submits_;
}

std::vector<v1::CancelJobRequest> FakeCoordinator::cancels() const {
  MutexLock lock(&mutex_);
  return cancels_;
}

std::vector<v1::StreamJobLogsRequest> FakeCoordinator::log_requests() const {
  MutexLock lock(&mutex_);
  return log_requests_;
}

grpc::Status FakeCoordinator::PlannedFailure() {
  if (failures_.empty()) return grpc::Status::OK;
  const grpc::Status status = failures_.front();
  failures_.pop_front();
  return status;
}

grpc::Status FakeCoordinator::Find(const std::string& id, v1::Job* job) const {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return {grpc::StatusCode::NOT_FOUND, "no job " + id};
  *job = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                        v1::SubmitJobResponse* response) {
  MutexLock lock(&mutex_);
  submits_.push_back(*request);
  if (const grpc::Status status = PlannedFailure(); !status.ok()) return status;
  return Find(submitted_id_, response->mutable_job());
}

grpc::Status FakeCoordinator::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                                     v1::GetJobResponse* response) {
  MutexLock lock(&mutex_);
  if (const grpc::Status status = PlannedFailure(); !status.ok()) return status;
  return Find(request->job_id(), response->mutable_job());
}

// One job a page.
grpc::Status FakeCoordinator::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                       v1::ListJobsResponse* response) {
  MutexLock lock(&mutex_);
  if (const grpc::Status status = PlannedFailure(); !status.ok()) return status;
  for (auto next = jobs_.upper_bound(request->page_token()); next != jobs_.end(); ++next) {
    if (request->states_size() > 0 && request->states(0) != next->second.state()) continue;
    if (response->jobs_size() == 1) {
      response->set_next_page_token(response->jobs(0).id());
      break;
    }
    *response->add_jobs() = next->second;
  }
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                        v1::CancelJobResponse* response) {
  MutexLock lock(&mutex_);
  cancels_.push_back(*request);
  if (const grpc::Status status = PlannedFailure(); !status.ok()) return status;
  return Find(request->job_id(), response->mutable_job());
}

void FakeCoordinator::WaitUntilOver(grpc::ServerContext& context) {
  MutexLock lock(&mutex_);
  while (!stopping_ && !context.IsCancelled()) changed_.WaitFor(&mutex_, absl::Milliseconds(5));
}

grpc::Status FakeCoordinator::WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                                       grpc::ServerWriter<v1::WatchJobResponse>* writer) {
  WatchScript script;
  {
    MutexLock lock(&mutex_);
    v1::Job job;
    if (const grpc::Status status = Find(request->job_id(), &job); !status.ok()) return status;
    if (!watches_.empty()) {
      script = std::move(watches_.front());
      watches_.pop_front();
    }
  }
  for (const v1::Job& job : script.jobs) {
    v1::WatchJobResponse response;
    *response.mutable_job() = job;
    if (!writer->Write(response)) return grpc::Status::CANCELLED;
  }
  {
    MutexLock lock(&mutex_);
    ++watches_said_;
    changed_.SignalAll();
  }
  if (!script.stays_open) return script.status;
  WaitUntilOver(*context);
  return {grpc::StatusCode::UNAVAILABLE, "going down"};
}

grpc::Status FakeCoordinator::StreamJobLogs(grpc::ServerContext*, const v1::StreamJobLogsRequest* request,
                                            grpc::ServerWriter<v1::StreamJobLogsResponse>* writer) {
  MutexLock lock(&mutex_);
  log_requests_.push_back(*request);
  v1::Job job;
  if (const grpc::Status status = Find(request->job_id(), &job); !status.ok()) return status;
  for (const v1::LogLine& line : log_) {
    if (line.sequence() <= request->after_sequence()) continue;
    if (request->has_rank() && request->rank() != line.rank()) continue;
    if (request->tail() > 0 && line.sequence() + request->tail() <= static_cast<int64_t>(log_.size())) continue;
    if (log_lines_to_break_ == 0) {
      log_lines_to_break_ = -1;
      return {grpc::StatusCode::UNAVAILABLE, "broken"};
    }
    if (log_lines_to_break_ > 0) --log_lines_to_break_;
    v1::StreamJobLogsResponse response;
    *response.add_lines() = line;
    writer->Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListJobEvents(grpc::ServerContext*, const v1::ListJobEventsRequest*,
                                            v1::ListJobEventsResponse* response) {
  MutexLock lock(&mutex_);
  *response = events_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                                              v1::ListCheckpointsResponse* response) {
  MutexLock lock(&mutex_);
  *response = checkpoints_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*,
                                        v1::ListNodesResponse* response) {
  MutexLock lock(&mutex_);
  *response = nodes_;
  return grpc::Status::OK;
}

}  // namespace bert::ctl
