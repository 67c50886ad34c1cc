#include "bertctl/client.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bertctl/exit_code.h"
#include "common/backoff.h"
#include "common/entropy.h"
#include "common/mutex.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"

namespace bert::ctl {
namespace {

constexpr absl::Duration kRequestTimeout = absl::Seconds(20);
constexpr absl::Duration kRetryInitial = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(1);
constexpr absl::Duration kReconnectInitial = absl::Milliseconds(200);
constexpr absl::Duration kReconnectMax = absl::Seconds(3);
constexpr absl::Duration kConnectSlice = absl::Milliseconds(200);
constexpr char kNoAnswer[] = "no answer to the attempt to connect";
constexpr int kRequestIdLength = 24;

// A server that shuts down cancels its streams; to this client that is the same as being gone.
bool IsGone(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsCancelled(status); }

}  // namespace

struct Client::InFlight {
  Mutex mutex;
  bool interrupted ABSL_GUARDED_BY(mutex) = false;
  grpc::ClientContext* context ABSL_GUARDED_BY(mutex) = nullptr;

  void Interrupt() {
    MutexLock lock(&mutex);
    interrupted = true;
    if (context != nullptr) context->TryCancel();
  }
  void Set(grpc::ClientContext* new_context) {
    MutexLock lock(&mutex);
    context = new_context;
    if (context != nullptr && interrupted) context->TryCancel();
  }
};

absl::StatusOr<std::unique_ptr<Client>> Client::Make(const ClientOptions& options, ShutdownSignal& shutdown,
                                                     Clock& clock, NoteFn note) {
  ASSIGN_OR_RETURN(auto channel, MakeChannel(options.address, options.credentials));
  return std::unique_ptr<Client>(new Client(options, std::move(channel), shutdown, clock, std::move(note)));
}

Client::Client(const ClientOptions& options, std::shared_ptr<grpc::Channel> channel, ShutdownSignal& shutdown,
               Clock& clock, NoteFn note)
    : options_(options),
      channel_(std::move(channel)),
      jobs_(v1::JobService::NewStub(channel_)),
      checkpoints_(v1::CheckpointService::NewStub(channel_)),
      nodes_(v1::NodeService::NewStub(channel_)),
      shutdown_(shutdown),
      clock_(clock),
      note_(std::move(note)),
      in_flight_(std::make_shared<InFlight>()) {
  shutdown_.OnRequest([in_flight = in_flight_] { in_flight->Interrupt(); });
}

absl::StatusOr<bool> Client::WaitForConnection(absl::Duration delay, absl::Duration until) {
  const auto left = [&] { return until - clock_.Monotonic(); };
  shutdown_.WaitFor(std::min(delay, left()));
  bool connected = channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY;
  // In slices, because a signal does not end the channel's wait.
  while (!connected && !shutdown_.Requested() && left() > absl::ZeroDuration()) {
    const absl::Duration slice = std::min(left(), kConnectSlice);
    connected = channel_->WaitForConnected(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(slice));
  }
  if (shutdown_.Requested()) return absl::CancelledError("interrupted");
  return connected;
}

absl::Status Client::GiveUp(const absl::Status& status, bool connected) {
  // A connection that broke would not be ready just after the call.
  if (connected && absl::IsUnavailable(status) && channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY) {
    return absl::AbortedError(absl::StrCat("the coordinator at ", options_.address,
                                           " cannot do this now: ", status.message(), "; try again"));
  }
  return absl::UnavailableError(status.message());
}

absl::Status Client::CallWithRetries(const std::function<grpc::Status(grpc::ClientContext&)>& call) {
  const absl::Duration start = clock_.Monotonic();
  const absl::Duration timeout = std::min(options_.timeout, kRequestTimeout);
  const absl::Duration retry = std::min(options_.retry, timeout);
  Backoff backoff(kRetryInitial, kRetryMax, RandomSeed());
  absl::Duration delay = absl::ZeroDuration();
  while (true) {
    ASSIGN_OR_RETURN(const bool connected, WaitForConnection(delay, start + retry));
    grpc::ClientContext context;
    // Without a connection the call only tells why there is none.
    const absl::Duration left = connected ? timeout - (clock_.Monotonic() - start) : absl::ZeroDuration();
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(std::max(left, kConnectSlice)));
    in_flight_->Set(&context);
    const absl::Status status = FromGrpc(call(context));
    in_flight_->Set(nullptr);
    spdlog::debug("called the coordinator address={} status={}", options_.address, status.ToString());
    if (shutdown_.Requested() && !status.ok()) return absl::CancelledError("interrupted");
    if (absl::IsDeadlineExceeded(status)) {
      if (!connected) return absl::UnavailableError(kNoAnswer);
      return absl::DeadlineExceededError(absl::StrCat("the coordinator at ", options_.address,
                                                      " did not answer within ", absl::FormatDuration(timeout)));
    }
    if (!IsGone(status)) return status;
    if (clock_.Monotonic() - start >= retry) return GiveUp(status, connected);
    delay = backoff.Next();
  }
}

template <typename Response>
absl::Status Client::Follow(
    const std::function<std::unique_ptr<grpc::ClientReader<Response>>(grpc::ClientContext*)>& open,
    const std::function<bool(const Response&)>& on_response, const std::function<bool()>& is_complete) {
  const absl::Duration start = clock_.Monotonic();
  const absl::Duration end = start + options_.timeout;
  const absl::Duration first_contact_end = start + std::min(options_.retry, options_.timeout);
  Backoff backoff(kReconnectInitial, kReconnectMax, RandomSeed());
  absl::Duration delay = absl::ZeroDuration();
  bool was_connected = false;
  bool is_lost = false;
  while (true) {
    const absl::Duration until =
        was_connected ? std::min(clock_.Monotonic() + delay + kReconnectMax, end) : first_contact_end;
    ASSIGN_OR_RETURN(const bool connected, WaitForConnection(delay, until));
    grpc::ClientContext context;
    // Without a connection the call only tells why there is none.
    const absl::Duration left = connected ? end - clock_.Monotonic() : kConnectSlice;
    if (left != absl::InfiniteDuration()) {
      context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(left));
    }
    in_flight_->Set(&context);
    const std::unique_ptr<grpc::ClientReader<Response>> reader = open(&context);
    bool wants_more = true;
    for (Response response; wants_more && reader->Read(&response);) {
      if (is_lost) note_(absl::StrCat("the coordinator at ", options_.address, " is back"));
      was_connected = true;
      is_lost = false;
      backoff.Reset();
      wants_more = on_response(response);
    }
    if (!wants_more) context.TryCancel();
    absl::Status status = FromGrpc(reader->Finish());
    in_flight_->Set(nullptr);
    spdlog::debug("a stream ended address={} status={}", options_.address, status.ToString());
    if (!wants_more || (status.ok() && is_complete())) return absl::OkStatus();
    if (shutdown_.Requested()) return absl::CancelledError("interrupted");
    const bool is_late = absl::IsDeadlineExceeded(status);
    if ((connected && is_late) || (was_connected && clock_.Monotonic() >= end)) {
      return absl::DeadlineExceededError(absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout)));
    }
    if (is_late) status = absl::UnavailableError(kNoAnswer);
    if (!status.ok() && !IsGone(status)) return status;
    if (!was_connected && clock_.Monotonic() >= first_contact_end) return GiveUp(status, connected);
    if (was_connected && !is_lost) {
      note_(absl::StrCat("lost the coordinator at ", options_.address, "; trying again (the job goes on)"));
      is_lost = true;
    }
    delay = backoff.Next();
  }
}

absl::StatusOr<v1::Job> Client::SubmitJob(const v1::JobSpec& spec, const std::string& user, bool dry_run) {
  v1::SubmitJobRequest request;
  request.set_request_id(RandomToken(kRequestIdLength));
  *request.mutable_spec() = spec;
  request.set_user(user);
  request.set_dry_run(dry_run);
  v1::SubmitJobResponse response;
  RETURN_IF_ERROR(
      CallWithRetries([&](grpc::ClientContext& context) { return jobs_->SubmitJob(&context, request, &response); }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& job_id) {
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::GetJobResponse response;
  RETURN_IF_ERROR(
      CallWithRetries([&](grpc::ClientContext& context) { return jobs_->GetJob(&context, request, &response); }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<std::vector<v1::Job>> Client::ListJobs(const std::vector<v1::JobState>& states, const std::string& user,
                                                      int limit) {
  v1::ListJobsRequest request;
  for (const v1::JobState state : states) request.add_states(state);
  request.set_user(user);
  if (limit > 0) request.set_page_size(std::min(limit, 1000));
  std::vector<v1::Job> jobs;
  while (true) {
    v1::ListJobsResponse response;
    RETURN_IF_ERROR(
        CallWithRetries([&](grpc::ClientContext& context) { return jobs_->ListJobs(&context, request, &response); }));
    for (v1::Job& job : *response.mutable_jobs()) {
      jobs.push_back(std::move(job));
      if (limit > 0 && static_cast<int>(jobs.size()) == limit) return jobs;
    }
    if (response.next_page_token().empty()) return jobs;
    request.set_page_token(response.next_page_token());
  }
}

absl::StatusOr<v1::Job> Client::CancelJob(const std::string& job_id) {
  v1::CancelJobRequest request;
  request.set_request_id(RandomToken(kRequestIdLength));
  request.set_job_id(job_id);
  v1::CancelJobResponse response;
  RETURN_IF_ERROR(
      CallWithRetries([&](grpc::ClientContext& context) { return jobs_->CancelJob(&context, request, &response); }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<std::vector<v1::JobEvent>> Client::ListJobEvents(const std::string& job_id) {
  v1::ListJobEventsRequest request;
  request.set_job_id(job_id);
  v1::ListJobEventsResponse response;
  RETURN_IF_ERROR(CallWithRetries(
      [&](grpc::ClientContext& context) { return jobs_->ListJobEvents(&context, request, &response); }));
  return std::vector<v1::JobEvent>(response.events().begin(), response.events().end());
}

absl::StatusOr<v1::ListStepsResponse> Client::ListSteps(const std::string& job_id, int64_t after_step,
                                                        int32_t max_points) {
  v1::ListStepsRequest request;
  request.set_job_id(job_id);
  request.set_after_step(after_step);
  request.set_max_points(max_points);
  v1::ListStepsResponse response;
  RETURN_IF_ERROR(
      CallWithRetries([&](grpc::ClientContext& context) { return jobs_->ListSteps(&context, request, &response); }));
  return response;
}

absl::StatusOr<std::vector<v1::Checkpoint>> Client::ListCheckpoints(const std::string& job_id) {
  v1::ListCheckpointsRequest request;
  request.set_job_id(job_id);
  v1::ListCheckpointsResponse response;
  RETURN_IF_ERROR(CallWithRetries(
      [&](grpc::ClientContext& context) { return checkpoints_->ListCheckpoints(&context, request, &response); }));
  return std::vector<v1::Checkpoint>(response.checkpoints().begin(), response.checkpoints().end());
}

absl::StatusOr<v1::ListNodesResponse> Client::ListNodes() {
  v1::ListNodesResponse response;
  RETURN_IF_ERROR(CallWithRetries(
      [&](grpc::ClientContext& context) { return nodes_->ListNodes(&context, v1::ListNodesRequest(), &response); }));
  return response;
}

absl::StatusOr<v1::Job> Client::WatchJob(const std::string& job_id, const std::function<bool(const v1::Job&)>& on_job) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  v1::Job last;
  RETURN_IF_ERROR(
      Follow<v1::WatchJobResponse>([&](grpc::ClientContext* context) { return jobs_->WatchJob(context, request); },
                                   [&](const v1::WatchJobResponse& response) {
                                     last = response.job();
                                     return on_job(last) && !HasEnded(last.state());
                                   },
                                   [&] { return HasEnded(last.state()); }));
  return last;
}

absl::Status Client::StreamJobLogs(v1::StreamJobLogsRequest request,
                                   const std::function<bool(const v1::LogLine&)>& on_line) {
  return Follow<v1::StreamJobLogsResponse>(
      [&](grpc::ClientContext* context) { return jobs_->StreamJobLogs(context, request); },
      [&](const v1::StreamJobLogsResponse& response) {
        for (const v1::LogLine& line : response.lines()) {
          if (!on_line(line)) return false;
          // A stream opened anew goes on behind this line.
          request.set_after_sequence(line.sequence());
          request.set_tail(0);
        }
        return true;
      },
      [] { return true; });
}

}  // namespace bert::ctl
