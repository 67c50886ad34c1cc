// What agents, trainers and dataloaders tell.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/report.h"
#include "coordinator/timestamps.h"
#include "google/protobuf/util/message_differencer.h"

namespace bert::coordinator {
namespace {

constexpr int kSlotsMax = 1024;
constexpr size_t kNameBytesMax = 256;
constexpr size_t kPathBytesMax = 4096;
// Of an assignment. All that keep_last allows, for each of a node's ranks, would not fit into an answer.
constexpr int kResumePointsMax = 10;

google::protobuf::Duration ToProtoDuration(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

// The registration says what the state has already.
bool SameRegistration(const NodeRecord& node, const v1::RegisterNodeRequest& request) {
  if (node.lost() || node.incarnation() != request.incarnation() || node.address() != request.address() ||
      node.version() != request.version() || node.slots_size() != request.slots_size()) {
    return false;
  }
  for (int i = 0; i < node.slots_size(); ++i) {
    if (!google::protobuf::util::MessageDifferencer::Equals(node.slots(i), request.slots(i))) return false;
  }
  return true;
}

absl::Status StaleGeneration(const JobRecord& job, int64_t generation) {
  return absl::FailedPreconditionError(absl::StrCat(
      "generation ", generation, " of job ", job.job_id(), " is stale: ",
      job.generation() == generation
          ? absl::StrCat("it has ended (the job is ", StateName(job.state()), ")")
          : absl::StrCat("the newest is generation ", job.generation(), " (the job is ", StateName(job.state()), ")")));
}

absl::Status CheckCheckpointRequest(const v1::CommitCheckpointRequest& request) {
  if (request.step() < 1) return absl::InvalidArgumentError("step is at least 1");
  const std::string& directory = request.directory();
  if (directory.empty() || directory.front() != '/' || directory.size() > kPathBytesMax ||
      absl::StrContains(absl::StrCat(directory, "/"), "/../")) {
    return absl::InvalidArgumentError(absl::StrCat("directory '", directory, "' is not an absolute path"));
  }
  if (!absl::StartsWith(request.digest(), "xxh128:")) {
    return absl::InvalidArgumentError(absl::StrCat("digest '", request.digest(), "' is not of the form xxh128:<hex>"));
  }
  if (request.size_bytes() < 0) return absl::InvalidArgumentError("size_bytes is negative");
  return absl::OkStatus();
}

// The oldest beyond `keep_last`, `step` included in the count.
std::vector<int64_t> StepsToDrop(const JobRecord& job, int64_t step) {
  std::vector<int64_t> others;
  for (const v1::Checkpoint& checkpoint : job.checkpoints()) {
    if (checkpoint.step() != step) others.push_back(checkpoint.step());
  }
  const size_t keep = static_cast<size_t>(std::max(1, job.spec().checkpoint().keep_last()) - 1);
  if (others.size() <= keep) return {};
  others.resize(others.size() - keep);
  return others;
}

}  // namespace

absl::StatusOr<v1::RegisterNodeResponse> Coordinator::RegisterNode(const v1::RegisterNodeRequest& request) {
  if (request.node().size() > kNameBytesMax || request.incarnation().size() > kNameBytesMax ||
      request.slots_size() > kSlotsMax) {
    return absl::InvalidArgumentError(absl::StrCat("a node's name and incarnation have at most ", kNameBytesMax,
                                                   " bytes; it has at most ", kSlotsMax, " slots"));
  }
  const NodeName name(request.node());
  RETURN_IF_ERROR(Transact([&](const State& state) -> absl::StatusOr<std::vector<Update>> {
    const NodeRecord* const node = state.FindNode(name);
    if (node != nullptr && SameRegistration(*node, request)) return std::vector<Update>();
    std::vector<Update> updates(1);
    updates[0].set_time_us(NowUs());
    auto& registered = *updates[0].mutable_node_registered();
    registered.set_node(request.node());
    registered.set_incarnation(request.incarnation());
    *registered.mutable_slots() = request.slots();
    registered.set_address(request.address());
    registered.set_version(request.version());
    return updates;
  }));
  MutexLock lock(&mutex_);
  const auto session = sessions_.find(name);
  if (session != sessions_.end()) {
    session->second.Renew(parts_.clock->Monotonic(), options_.lease());
    session->second.last_heartbeat = parts_.clock->Now();
  }
  v1::RegisterNodeResponse response;
  *response.mutable_heartbeat_interval() = ToProtoDuration(options_.heartbeat_interval);
  *response.mutable_lease() = ToProtoDuration(options_.lease());
  return response;
}

absl::Status Coordinator::CheckSession(const std::string& node, const std::string& incarnation) const {
  const NodeRecord* const record = state_.FindNode(NodeName(node));
  if (record == nullptr) return absl::NotFoundError(absl::StrCat("node '", node, "' is not registered"));
  if (record->incarnation() != incarnation) {
    return absl::FailedPreconditionError(absl::StrCat("incarnation ", incarnation, " of node '", node,
                                                      "' is stale: incarnation ", record->incarnation(),
                                                      " has registered"));
  }
  if (record->lost()) {
    return absl::FailedPreconditionError(absl::StrCat("the lease of node '", node, "' (incarnation ", incarnation,
                                                      ") has run out: ", record->lost_reason(), "; register again"));
  }
  return absl::OkStatus();
}

absl::Status Coordinator::CheckAgent(const std::string& node, const std::string& incarnation) const {
  MutexLock lock(&mutex_);
  return CheckSession(node, incarnation);
}

absl::StatusOr<v1::HeartbeatResponse> Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  const NodeName name(request.node());
  int64_t arrived = 0;
  // Under mutex_, where the session is the node's.
  const auto ends = [&](const State& state) -> absl::StatusOr<std::vector<Update>> {
    mutex_.AssertHeld();
    RETURN_IF_ERROR(CheckSession(request.node(), request.incarnation()));
    const auto told_to_end = [&](const JobRecord& job) {
      mutex_.AssertHeld();
      const auto failed = failed_.find(JobId(job.job_id()));
      return failed == failed_.end() || failed->second.generation != job.generation() ||
             failed->second.told.contains(name);
    };
    const NodeSession& session = sessions_.at(name);
    return EndsInReport(state, session, request, session.IsNews(arrived), told_to_end, NowUs());
  };
  bool nothing_ended = false;
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(CheckSession(request.node(), request.incarnation()));
    NodeSession& session = sessions_.at(name);
    session.Renew(parts_.clock->Monotonic(), options_.lease());
    session.last_heartbeat = parts_.clock->Now();
    arrived = session.Arrive(request.sequence());
    ASSIGN_OR_RETURN(const std::vector<Update> ended, ends(state_));
    nothing_ended = ended.empty();
  }
  if (!nothing_ended) RETURN_IF_ERROR(Transact(ends));
  MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckSession(request.node(), request.incarnation()));
  if (arrived > 0) {
    for (const v1::RankStatus& status : request.ranks()) {
      const JobRecord* const job = state_.FindJob(JobId(status.job_id()));
      // Others have ended for us; the answer tells the agent so.
      if (status.state() == v1::RANK_STATE_RUNNING && job != nullptr && job->generation() == status.generation() &&
          status.rank() >= 0 && status.rank() < job->ranks_size() && !job->ranks(status.rank()).ended()) {
        sessions_.at(name).ReportedRunning({JobId(status.job_id()), status.generation(), status.rank()});
      }
    }
  }
  return Assignments(name);
}

v1::HeartbeatResponse Coordinator::Assignments(const NodeName& node) {
  v1::HeartbeatResponse response;
  const NodeRecord& record = *state_.FindNode(node);
  for (const auto& [slot, holder] : state_.HeldSlots(node)) {
    const JobRecord& job = *state_.FindJob(holder.job);
    if (!IsWanted(job)) continue;
    v1::Assignment& assignment = *response.add_assignments();
    assignment.set_job_id(job.job_id());
    assignment.set_generation(job.generation());
    assignment.set_rank(holder.rank);
    assignment.set_world_size(job.ranks_size());
    assignment.set_slot(slot);
    for (const v1::Slot& of_node : record.slots()) {
      if (of_node.index() == slot) assignment.set_device(of_node.device());
    }
    *assignment.mutable_spec() = job.spec();
    for (auto it = job.checkpoints().rbegin(); it != job.checkpoints().rend(); ++it) {
      if (assignment.resume_points_size() == kResumePointsMax) break;
      v1::ResumePoint& point = *assignment.add_resume_points();
      point.set_step(it->step());
      point.set_directory(it->directory());
      point.set_digest(it->digest());
    }
    for (const std::string& loader : loaders_.Addresses()) assignment.add_loaders(loader);
  }
  for (auto& [id, failed] : failed_) failed.told.insert(node);
  return response;
}

absl::StatusOr<const JobRecord*> Coordinator::LiveJob(const std::string& job_id, int64_t generation) const {
  const JobRecord* const job = state_.FindJob(JobId(job_id));
  if (job == nullptr) return absl::NotFoundError(absl::StrCat("no job '", job_id, "'"));
  if (job->generation() != generation || !job->generation_live()) return StaleGeneration(*job, generation);
  return job;
}

uint64_t Coordinator::JoinRendezvous(const v1::JoinRendezvousRequest& request, JoinCallback callback) {
  absl::StatusOr<v1::JoinRendezvousResponse> now = absl::UnknownError("");
  uint64_t join_id = 0;
  bool answer_now = true;
  bool complete = false;
  {
    MutexLock lock(&mutex_);
    join_id = next_join_id_++;
    const auto live = LiveJob(request.job_id(), request.generation());
    if (!live.ok()) {
      now = live.status();
    } else if (request.rank() < 0 || request.rank() >= (*live)->ranks_size()) {
      now = absl::InvalidArgumentError(absl::StrCat("rank ", request.rank(), " is not one of the ",
                                                    (*live)->ranks_size(), " ranks of job ", request.job_id()));
    } else if (request.rank() == 0 && request.store_address().empty()) {
      now = absl::InvalidArgumentError("rank 0 brings the address of its store");
    } else if ((*live)->state() == v1::JOB_STATE_CANCELLING) {
      now = absl::FailedPreconditionError(absl::StrCat("job ", request.job_id(), " is being cancelled"));
    } else if ((*live)->generation_formed()) {
      now = v1::JoinRendezvousResponse();
      now->set_world_size((*live)->ranks_size());
      now->set_store_address((*live)->store_address());
    } else {
      Meeting& meeting = meetings_.at(JobId(request.job_id()));
      meeting.Join(request.rank(), request.store_address(), join_id, std::move(callback));
      complete = meeting.Complete();
      answer_now = false;
    }
  }
  if (answer_now) callback(std::move(now));
  // The last to come brings the generation to life. Where that cannot be written, Tick tries again.
  if (complete) Tick().IgnoreError();
  return join_id;
}

void Coordinator::AbandonJoin(const std::string& job_id, uint64_t join_id) {
  MutexLock lock(&mutex_);
  const auto meeting = meetings_.find(JobId(job_id));
  if (meeting != meetings_.end()) meeting->second.Abandon(join_id);
}

void Coordinator::TakeHealth(const v1::ReportProgressRequest& request) {
  const JobId id(request.job_id());
  const JobHealth::News news = health_[id].Take(request);
  if (news.any) Touch(id);
  if (news.skipped_steps > 0) parts_.metrics->CountSkippedSteps(news.skipped_steps);
  if (news.early_end.empty()) return;
  v1::JobEvent event;
  *event.mutable_time() = ToTimestamp(NowUs());
  event.set_generation(request.generation());
  event.set_type("ENDS_EARLY");
  event.set_message(news.early_end);
  parts_.history->AddEvents({{id, std::move(event)}});
}

void Coordinator::SumHealth() {
  std::vector<const v1::RankHealth*> ranks;
  for (const auto& [id, health] : health_) {
    const JobRecord* const job = state_.FindJob(id);
    if (job == nullptr || !job->generation_live()) continue;
    for (const auto& [number, rank] : health.ranks(job->generation())) ranks.push_back(&rank);
  }
  parts_.metrics->SetTraining(ranks);
}

absl::StatusOr<v1::ReportProgressResponse> Coordinator::ReportProgress(const v1::ReportProgressRequest& request) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const JobRecord* job, LiveJob(request.job_id(), request.generation()));
  const JobId id(request.job_id());
  if (request.rank() < 0 || request.rank() >= job->ranks_size()) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", request.rank(), " is not one of the ", job->ranks_size(),
                                                   " ranks of job ", request.job_id()));
  }
  JobProgress& known = progress_[id];
  ProgressReport report{.job = id, .generation = request.generation(), .steps = {}, .validations = {}};
  // What the same generation has reported before is a repetition; a newer one computes the steps again.
  int64_t last_step = known.step_generation == request.generation() ? known.last_step->step() : 0;
  for (const v1::StepMetrics& step : request.steps()) {
    if (step.step() <= last_step) continue;
    last_step = step.step();
    report.steps.push_back(step);
  }
  int64_t last_validation = known.validation_generation == request.generation() ? known.last_validation->step() : 0;
  for (const v1::ValidationMetrics& validation : request.validations()) {
    if (validation.step() <= last_validation) continue;
    last_validation = validation.step();
    report.validations.push_back(validation);
  }
  if (!report.steps.empty() || !report.validations.empty()) {
    JobProgress updated = known;
    if (!report.steps.empty()) {
      // Of a model that has been given up for the checkpoint before it.
      if (updated.last_validation.has_value() && updated.validation_generation < request.generation() &&
          updated.last_validation->step() >= report.steps.front().step()) {
        updated.last_validation.reset();
        updated.validation_generation = 0;
      }
      updated.last_step = report.steps.back();
      updated.step_generation = request.generation();
    }
    if (!report.validations.empty()) {
      updated.last_validation = report.validations.back();
      updated.validation_generation = request.generation();
    }
    // Together with steps only: a report that repeats some, or has none, covers little time.
    if (!report.steps.empty() && request.has_time_shares()) updated.time_shares = request.time_shares();
    RETURN_IF_ERROR(parts_.history->AddProgress(std::move(report)));
    known = std::move(updated);
    Touch(id);
  }
  TakeHealth(request);
  v1::ReportProgressResponse response;
  response.set_action(job->state() == v1::JOB_STATE_CANCELLING ? v1::TRAINER_ACTION_STOP : v1::TRAINER_ACTION_CONTINUE);
  for (const std::string& loader : loaders_.Addresses()) response.add_loaders(loader);
  return response;
}

absl::StatusOr<v1::CommitCheckpointResponse> Coordinator::CommitCheckpoint(const v1::CommitCheckpointRequest& request) {
  RETURN_IF_ERROR(CheckCheckpointRequest(request));
  RETURN_IF_ERROR(Transact([&](const State&) -> absl::StatusOr<std::vector<Update>> {
    mutex_.AssertHeld();
    ASSIGN_OR_RETURN(const JobRecord* job, LiveJob(request.job_id(), request.generation()));
    const auto known = std::find_if(job->checkpoints().begin(), job->checkpoints().end(),
                                    [&](const v1::Checkpoint& old) { return old.step() == request.step(); });
    if (known != job->checkpoints().end()) {
      if (known->digest() == request.digest() && known->directory() == request.directory()) {
        return std::vector<Update>();
      }
      if (known->generation() == request.generation()) {
        return absl::AlreadyExistsError(absl::StrCat("step ", request.step(), " of job ", request.job_id(),
                                                     " is committed already, as ", known->digest(), " in ",
                                                     known->directory()));
      }
    }
    std::vector<Update> updates(1);
    updates[0].set_time_us(NowUs());
    auto& committed = *updates[0].mutable_checkpoint_committed();
    v1::Checkpoint& checkpoint = *committed.mutable_checkpoint();
    checkpoint.set_job_id(request.job_id());
    checkpoint.set_generation(request.generation());
    checkpoint.set_step(request.step());
    checkpoint.set_directory(request.directory());
    checkpoint.set_digest(request.digest());
    checkpoint.set_size_bytes(request.size_bytes());
    checkpoint.set_node(request.node());
    *checkpoint.mutable_commit_time() = ToTimestamp(updates[0].time_us());
    for (const int64_t step : StepsToDrop(*job, request.step())) committed.add_dropped_steps(step);
    return updates;
  }));
  v1::CommitCheckpointResponse response;
  MutexLock lock(&mutex_);
  const JobRecord* const job = state_.FindJob(JobId(request.job_id()));
  // Only the newest commit's: what an older one dropped has been told and deleted.
  if (!job->checkpoints().empty() && job->checkpoints().rbegin()->step() == request.step()) {
    *response.mutable_dropped_directories() = job->dropped_directories();
  }
  return response;
}

absl::StatusOr<v1::LoaderHeartbeatResponse> Coordinator::LoaderHeartbeat(const v1::LoaderHeartbeatRequest& request) {
  if (request.address().empty() || request.address().size() > kNameBytesMax) {
    return absl::InvalidArgumentError("a dataloader gives the address that trainers reach it at, as host:port");
  }
  bool first = false;
  {
    MutexLock lock(&mutex_);
    const size_t before = loaders_.count();
    first = before == 0;
    loaders_.Heartbeat(request, parts_.clock->Monotonic(), parts_.clock->Now());
    if (loaders_.count() != before) parts_.metrics->SetState(state_, loaders_.count());
  }
  // Jobs may wait for it. Where their start cannot be written, Tick tries again.
  if (first) Tick().IgnoreError();
  v1::LoaderHeartbeatResponse response;
  *response.mutable_heartbeat_interval() = ToProtoDuration(options_.heartbeat_interval);
  return response;
}

}  // namespace bert::coordinator
