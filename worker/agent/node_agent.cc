#include "worker/agent/node_agent.h"

#include <errno.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/files.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"

namespace bert::agent {
namespace {

constexpr absl::Duration kBackoffInitial = absl::Milliseconds(100);
constexpr absl::Duration kBackoffMax = absl::Seconds(2);
constexpr absl::Duration kCallTimeoutMin = absl::Seconds(2);
constexpr absl::Duration kWithdrawTimeout = absl::Seconds(2);
constexpr int kSupersededMax = 3;

// Those that a wait cannot make good; all others are tried again.
bool IsForGood(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsUnimplemented(status);
}

bool IsStale(const absl::Status& status) { return absl::IsNotFound(status) || absl::IsFailedPrecondition(status); }

RankKey KeyOf(const v1::Assignment& assignment) {
  return {assignment.job_id(), assignment.generation(), assignment.rank()};
}

absl::Duration FromProto(const google::protobuf::Duration& duration, absl::Duration fallback) {
  const absl::Duration value = absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  return value > absl::ZeroDuration() ? value : fallback;
}

}  // namespace

NodeAgent::NodeAgent(std::shared_ptr<grpc::Channel> channel, Options options, Clock* clock, AgentMetrics* metrics)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      stub_(v1::WorkerService::NewStub(channel)),
      shipper_(channel, {.node = options_.node, .seed = options_.seed + 1}, metrics),
      backoff_(kBackoffInitial, kBackoffMax, options_.seed) {
  metrics_->slots.Set(static_cast<double>(options_.slots.size()));
}

NodeAgent::~NodeAgent() { BERT_CHECK(call_ == nullptr) << "the agent was destroyed inside Run"; }

void NodeAgent::RequestStop() {
  mailbox_.Post([this] { Stop(); });
}

absl::Status NodeAgent::Ready() const {
  return registered_ ? absl::OkStatus() : absl::UnavailableError("not registered with the coordinator");
}

absl::Status NodeAgent::Run() {
  while (true) {
    Advance();
    const bool done = stage_ == Stage::kStopping && call_ == nullptr && AllExited();
    if (done) break;
    WaitForEvents();
  }
  ranks_.clear();
  if (ever_registered_ && !shipper_.Flush(options_.flush_timeout)) {
    spdlog::warn("not all log lines reached the coordinator; they are under {}/logs", options_.work_dir);
  }
  return failure_;
}

void NodeAgent::Stop() {
  if (stage_ == Stage::kStopping) return;
  spdlog::info("stopping node={} ranks={}", options_.node, ranks_.size());
  stage_ = Stage::kStopping;
  registered_ = false;
  if (call_ != nullptr) call_->context.TryCancel();
  EndAll("the agent stops");
}

void NodeAgent::Advance() {
  for (auto& [key, rank] : ranks_) rank->KillIfOverdue();
  if (stage_ == Stage::kFenced && AllExited()) {
    ranks_.clear();
    stage_ = Stage::kRegistering;
    next_call_at_ = clock_->Monotonic();
  }
  if (call_ != nullptr) return;
  if (stage_ == Stage::kStopping) {
    // A node without slots gets no work: the coordinator need not wait for the lease to place it elsewhere.
    if (ever_registered_ && failure_.ok() && !withdrawn_) SendRegistration({});
    withdrawn_ = true;
    return;
  }
  if (clock_->Monotonic() < next_call_at_) return;
  if (stage_ == Stage::kRegistering) SendRegistration(options_.slots);
  if (stage_ == Stage::kActive) SendHeartbeat();
}

absl::Duration NodeAgent::NextTimer() const {
  absl::Duration next = absl::InfiniteDuration();
  if (call_ == nullptr && (stage_ == Stage::kRegistering || stage_ == Stage::kActive)) next = next_call_at_;
  for (const auto& [key, rank] : ranks_) next = std::min(next, rank->kill_at());
  return next;
}

void NodeAgent::WaitForEvents() {
  std::vector<pollfd> fds = {{.fd = mailbox_.fd(), .events = POLLIN, .revents = 0}};
  std::vector<Rank*> polled;
  for (auto& [key, rank] : ranks_) {
    // poll passes over negative descriptors.
    polled.push_back(rank.get());
    fds.push_back({.fd = rank->output_fd(), .events = POLLIN, .revents = 0});
    fds.push_back({.fd = rank->exit_fd(), .events = POLLIN, .revents = 0});
  }
  const absl::Duration next = NextTimer();
  int timeout_ms = -1;
  if (next != absl::InfiniteDuration()) {
    const absl::Duration wait = std::max(absl::ZeroDuration(), next - clock_->Monotonic());
    timeout_ms = static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1))));
  }
  if (poll(fds.data(), fds.size(), timeout_ms) < 0) {
    BERT_CHECK(errno == EINTR) << "poll: errno " << errno;
    return;
  }
  for (size_t i = 0; i < polled.size(); ++i) {
    if (fds[1 + 2 * i].revents != 0) polled[i]->ReadOutput();
    if (fds[2 + 2 * i].revents != 0 && polled[i]->TryReap()) {
      metrics_->ranks_running.Decrement();
      // It is news: the next heartbeat goes out at once.
      if (stage_ == Stage::kActive) next_call_at_ = clock_->Monotonic();
    }
  }
  mailbox_.RunAll();
}

void NodeAgent::SendRegistration(const std::vector<v1::Slot>& slots) {
  incarnation_ = options_.new_incarnation();
  sequence_ = 0;
  call_ = std::make_unique<Call>();
  v1::RegisterNodeRequest& request = call_->register_request;
  request.set_request_id(incarnation_);
  request.set_node(options_.node);
  request.set_incarnation(incarnation_);
  *request.mutable_slots() = {slots.begin(), slots.end()};
  request.set_address(options_.address);
  request.set_version(options_.version);
  const absl::Duration timeout = stage_ == Stage::kStopping ? kWithdrawTimeout : std::max(kCallTimeoutMin, interval_);
  call_->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  call_sent_at_ = clock_->Monotonic();
  stub_->async()->RegisterNode(&call_->context, &request, &call_->register_response, [this](grpc::Status status) {
    mailbox_.Post([this, status = FromGrpc(status)] { OnRegistered(status); });
  });
}

void NodeAgent::OnRegistered(const absl::Status& status) {
  const std::unique_ptr<Call> call = std::move(call_);
  if (stage_ == Stage::kStopping) {
    if (status.ok()) shipper_.SetIncarnation(incarnation_);
    return;
  }
  if (!status.ok()) {
    if (IsForGood(status) && !ever_registered_) {
      failure_ = Annotate(status, absl::StrCat("the coordinator refuses node '", options_.node, "'"));
      Stop();
      return;
    }
    if (!unreachable_) {
      spdlog::warn("cannot register at {}, trying on: {}", options_.trainer.coordinator, status.ToString());
    }
    unreachable_ = true;
    next_call_at_ = clock_->Monotonic() + backoff_.Next();
    return;
  }
  interval_ = FromProto(call->register_response.heartbeat_interval(), interval_);
  lease_ = FromProto(call->register_response.lease(), 3 * interval_);
  spdlog::info("registered node={} incarnation={} slots={} heartbeat={}", options_.node, incarnation_,
               options_.slots.size(), absl::FormatDuration(interval_));
  metrics_->registrations.Increment();
  shipper_.SetIncarnation(incarnation_);
  backoff_.Reset();
  unreachable_ = false;
  stage_ = Stage::kActive;
  registered_ = true;
  registered_at_ = lease_from_ = call_sent_at_;
  next_call_at_ = clock_->Monotonic();
  if (!std::exchange(ever_registered_, true)) options_.on_registered();
}

void NodeAgent::SendHeartbeat() {
  call_ = std::make_unique<Call>();
  v1::HeartbeatRequest& request = call_->heartbeat_request;
  request.set_node(options_.node);
  request.set_incarnation(incarnation_);
  request.set_sequence(++sequence_);
  for (auto& [key, rank] : ranks_) {
    *request.add_ranks() = rank->Status();
    rank->exit_reported = rank->phase() == RankPhase::kExited;
  }
  call_->context.set_deadline(absl::ToChronoTime(absl::Now() + std::max(kCallTimeoutMin, interval_)));
  call_sent_at_ = clock_->Monotonic();
  next_call_at_ = call_sent_at_ + interval_;
  stub_->async()->Heartbeat(&call_->context, &request, &call_->heartbeat_response, [this](grpc::Status status) {
    mailbox_.Post([this, status = FromGrpc(status)] { OnHeartbeat(status); });
  });
}

void NodeAgent::OnHeartbeat(const absl::Status& status) {
  const std::unique_ptr<Call> call = std::move(call_);
  (status.ok() ? metrics_->heartbeats_ok : metrics_->heartbeats_failed).Increment();
  if (stage_ != Stage::kActive) return;
  if (status.ok()) {
    if (unreachable_) spdlog::info("the coordinator answers again");
    unreachable_ = false;
    lease_from_ = call_sent_at_;
    if (clock_->Monotonic() - registered_at_ > lease_) superseded_ = 0;
    metrics_->last_heartbeat_seconds.Set(absl::ToDoubleSeconds(clock_->Now() - absl::UnixEpoch()));
    ApplyAnswer(call->heartbeat_response);
    return;
  }
  if (IsStale(status)) {
    Fence(status);
    return;
  }
  if (!unreachable_) {
    spdlog::warn("no answer from the coordinator, everything keeps running: {}", status.ToString());
  }
  unreachable_ = true;
  // An exit that was in this request may have set the timer to now.
  next_call_at_ = std::max(next_call_at_, clock_->Monotonic() + backoff_.Next());
}

void NodeAgent::Fence(const absl::Status& why) {
  spdlog::warn("this registration is no longer valid, ending {} ranks and registering anew: {}", ranks_.size(),
               why.ToString());
  registered_ = false;
  // With the lease still running, only a newer agent of the same name can be the reason.
  if (absl::IsFailedPrecondition(why) && clock_->Monotonic() - lease_from_ < lease_ &&
      ++superseded_ >= kSupersededMax) {
    failure_ = absl::AlreadyExistsError(
        absl::StrCat("another bert-worker registers as node '", options_.node,
                     "'; give each its own --node (the coordinator says: ", why.message(), ")"));
    Stop();
    return;
  }
  stage_ = Stage::kFenced;
  EndAll("the node's registration is no longer valid");
}

void NodeAgent::ApplyAnswer(const v1::HeartbeatResponse& answer) {
  std::vector<WantedRank> wanted;
  for (const v1::Assignment& assignment : answer.assignments())
    wanted.push_back({KeyOf(assignment), assignment.slot()});
  std::vector<LocalRank> local;
  for (const auto& [key, rank] : ranks_) local.push_back({key, rank->slot(), rank->phase(), rank->exit_reported});
  const ReconcileActions actions = Reconcile(wanted, local);
  for (const RankKey& key : actions.forget) ranks_.erase(key);
  for (const RankKey& key : actions.end) ranks_.at(key)->End(options_.grace, "no longer assigned");
  for (const size_t index : actions.start) StartRank(answer.assignments(static_cast<int>(index)));
  // What has just begun, or could not, is news as well.
  if (!actions.start.empty()) next_call_at_ = clock_->Monotonic();
}

void NodeAgent::StartRank(const v1::Assignment& assignment) {
  const RankKey key = KeyOf(assignment);
  const absl::Status possible = CheckAssignment(assignment, options_.slots);
  // Ids that cannot name files must not become paths.
  const std::string assignment_path = possible.ok() ? PathOf(key, "assignments", ".json") : "";
  Rank::Options rank_options = {
      .key = key,
      .slot = assignment.slot(),
      .log_path = possible.ok() ? PathOf(key, "logs", ".log") : options_.work_dir + "/logs/refused.log",
      .assignment_path = assignment_path,
      .log_bytes_max = options_.log_bytes_max,
      .clock = clock_,
      .shipper = &shipper_,
      .metrics = metrics_};
  Rank& rank = *(ranks_[key] = std::make_unique<Rank>(std::move(rank_options)));
  const auto start = [&]() -> absl::Status {
    RETURN_IF_ERROR(possible);
    google::protobuf::util::JsonPrintOptions json_options;
    json_options.add_whitespace = true;
    json_options.preserve_proto_field_names = true;
    std::string json;
    const auto converted = google::protobuf::util::MessageToJsonString(assignment, &json, json_options);
    if (!converted.ok()) return absl::InternalError(converted.ToString());
    RETURN_IF_ERROR(MakeDirectories(assignment_path.substr(0, assignment_path.rfind('/'))));
    RETURN_IF_ERROR(WriteFileDurably(assignment_path, json));
    rank.Start(TrainerCommand(options_.trainer, assignment, assignment_path));
    return absl::OkStatus();
  };
  const absl::Status started = start();
  if (!started.ok()) rank.FailToStart(started);
  if (rank.phase() == RankPhase::kRunning) metrics_->ranks_running.Increment();
}

void NodeAgent::EndAll(const std::string& why) {
  for (auto& [key, rank] : ranks_) rank->End(options_.grace, why);
}

bool NodeAgent::AllExited() const {
  return std::all_of(ranks_.begin(), ranks_.end(),
                     [](const auto& entry) { return entry.second->phase() == RankPhase::kExited; });
}

std::string NodeAgent::PathOf(const RankKey& key, const std::string& folder, const std::string& suffix) const {
  return absl::StrCat(options_.work_dir, "/", folder, "/", key.job_id, "/", key.generation, "-", key.rank, suffix);
}

}  // namespace bert::agent
