// The coordinator, as bertctl sees it.
#ifndef BERT_BERTCTL_CLIENT_H_
#define BERT_BERTCTL_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bert/v1/checkpoints.grpc.pb.h"
#include "bert/v1/jobs.grpc.pb.h"
#include "bert/v1/nodes.grpc.pb.h"
#include "common/clock.h"
#include "common/rpc/credentials.h"
#include "common/shutdown.h"

namespace bert::ctl {

struct ClientOptions {
  std::string address;
  CredentialFlags credentials;
  // For a whole request, or a whole stream. Infinite: 20 s for a request, no end for a stream: who reads a long log in
  // a pager would lose the rest of it. A coordinator that is gone is noticed by the channel's keepalive.
  absl::Duration timeout = absl::InfiniteDuration();
  // How long a request is tried again while the coordinator is UNAVAILABLE.
  absl::Duration retry = absl::Seconds(3);
};

// Calls the coordinator. Every call is tried again while it is UNAVAILABLE, mutations with the same request_id, and
// ends with CANCELLED once `shutdown` is requested. UNAVAILABLE: it could not be reached. ABORTED: it was reached and
// said to the end that it cannot do this now (a full disk); the message names it. Called from one thread. `shutdown`
// and `clock` outlive it.
class Client {
 public:
  // Told of a connection that was lost and one that is there again.
  using NoteFn = std::function<void(const std::string&)>;

  // INVALID_ARGUMENT: the address or the credentials' flags are wrong. Does not connect.
  static absl::StatusOr<std::unique_ptr<Client>> Make(const ClientOptions& options, ShutdownSignal& shutdown,
                                                      Clock& clock, NoteFn note);

  absl::StatusOr<v1::Job> SubmitJob(const v1::JobSpec& spec, const std::string& user, bool dry_run);
  absl::StatusOr<v1::Job> GetJob(const std::string& job_id);
  // All pages. Newest first; at most `limit` where it is positive.
  absl::StatusOr<std::vector<v1::Job>> ListJobs(const std::vector<v1::JobState>& states, const std::string& user,
                                                int limit);
  absl::StatusOr<v1::Job> CancelJob(const std::string& job_id);
  absl::StatusOr<std::vector<v1::JobEvent>> ListJobEvents(const std::string& job_id);
  // Steps behind `after_step`, oldest first; at most `max_points` of them, evenly spread, where it is positive.
  absl::StatusOr<v1::ListStepsResponse> ListSteps(const std::string& job_id, int64_t after_step, int32_t max_points);
  absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints(const std::string& job_id);
  absl::StatusOr<v1::ListNodesResponse> ListNodes();

  // Calls `on_job` with the job now and after each change until it has ended or `on_job` returns false. Survives
  // restarts of the coordinator. Answers with the last job seen.
  absl::StatusOr<v1::Job> WatchJob(const std::string& job_id, const std::function<bool(const v1::Job&)>& on_job);
  // Calls `on_line` with each line until all are there (with follow: until the job has ended) or it returns false.
  // Survives restarts of the coordinator without a line lost or repeated.
  absl::Status StreamJobLogs(v1::StreamJobLogsRequest request, const std::function<bool(const v1::LogLine&)>& on_line);

 private:
  struct InFlight;

  Client(const ClientOptions& options, std::shared_ptr<grpc::Channel> channel, ShutdownSignal& shutdown, Clock& clock,
         NoteFn note);

  // Waits `delay`, then until the channel is connected or monotonic time `until`; answers whether it is connected.
  // CANCELLED: a signal came.
  //
  // gRPC's synchronous calls drive a channel's connection only while one of them waits; a call that fails at once, as
  // it does between two attempts to connect, drives nothing. So this waits on the channel itself.
  absl::StatusOr<bool> WaitForConnection(absl::Duration delay, absl::Duration until);
  // What a call says whose last attempt ended with `status`.
  absl::Status GiveUp(const absl::Status& status, bool connected);
  // `call` runs one attempt.
  absl::Status CallWithRetries(const std::function<grpc::Status(grpc::ClientContext&)>& call);
  // Reads `open`'s stream, and the next one where it breaks. `on_response` returns false to end. `is_complete` says
  // whether a stream that ended with OK has said all.
  template <typename Response>
  absl::Status Follow(const std::function<std::unique_ptr<grpc::ClientReader<Response>>(grpc::ClientContext*)>& open,
                      const std::function<bool(const Response&)>& on_response,
                      const std::function<bool()>& is_complete);

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::CheckpointService::Stub> checkpoints_;
  const std::unique_ptr<v1::NodeService::Stub> nodes_;
  ShutdownSignal& shutdown_;
  Clock& clock_;
  const NoteFn note_;
  // The call under way, which a signal cancels. Shared with the signal's callback, which may outlive this.
  const std::shared_ptr<InFlight> in_flight_;
};

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_CLIENT_H_
