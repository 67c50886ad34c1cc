#include "coordinator/coordinator.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "coordinator/job_view.h"

namespace bert::coordinator {
namespace {

// Decisions follow from one another a few times at most; more would be a decision that does not take effect.
constexpr int kSettleRoundsMax = 100;
// Between two ticks; a longer time means that this process did not run.
constexpr absl::Duration kStandstill = absl::Milliseconds(500);
// After a compaction that failed: it costs a copy of the whole state, and the journal goes on without it.
constexpr absl::Duration kCompactionPause = absl::Seconds(30);

void Log(const Update& update) {
  if (update.has_node_registered()) {
    const auto& node = update.node_registered();
    spdlog::info("NODE_REGISTERED node={} incarnation={} slots={}", node.node(), node.incarnation(), node.slots_size());
  } else if (update.has_node_lost()) {
    const auto& node = update.node_lost();
    spdlog::warn("NODE_LOST node={} incarnation={}: {}", node.node(), node.incarnation(), node.reason());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Recover(Options options, Parts parts,
                                                                  std::map<JobId, JobProgress> progress) {
  ASSIGN_OR_RETURN(Journal::Recovered recovered, parts.journal->Load());
  auto state = State::FromSnapshot(recovered.snapshot);
  if (!state.ok()) return absl::DataLossError(absl::StrCat("the journal's ", state.status().message()));
  for (size_t i = 0; i < recovered.updates.size(); ++i) {
    if (const absl::Status applied = state->Apply(recovered.updates[i]); !applied.ok()) {
      return absl::DataLossError(
          absl::StrCat("update ", i + 1, " of ", recovered.updates.size(),
                       " in the journal does not follow from those before it: ", applied.message()));
    }
  }
  std::unique_ptr<Coordinator> coordinator(new Coordinator(std::move(options), parts));
  MutexLock commit(&coordinator->commit_mutex_);
  coordinator->epoch_ = recovered.epoch;
  MutexLock lock(&coordinator->mutex_);
  coordinator->state_ = *std::move(state);
  coordinator->progress_ = std::move(progress);
  const absl::Duration now = parts.clock->Monotonic();
  coordinator->last_tick_ = now;
  for (const auto& [name, node] : coordinator->state_.nodes()) {
    if (!node.lost()) coordinator->sessions_.emplace(name, NodeSession(now, coordinator->options_.lease()));
  }
  for (const auto& [id, job] : coordinator->state_.jobs()) {
    coordinator->versions_[id] = 1;
    if (job.state() != v1::JOB_STATE_STARTING) continue;
    coordinator->meetings_.emplace(id, Meeting(job.generation(), job.ranks_size(), now));
  }
  parts.metrics->SetState(coordinator->state_, coordinator->loaders_.count());
  spdlog::info("recovered epoch={} jobs={} active={} nodes={} replayed_updates={}", recovered.epoch,
               coordinator->state_.jobs().size(), coordinator->state_.active_count(),
               coordinator->state_.nodes().size(), recovered.updates.size());
  return coordinator;
}

absl::Status Coordinator::Transact(Decider decide) {
  Answers answers;
  absl::Status status;
  {
    MutexLock commit(&commit_mutex_);
    std::vector<Update> updates;
    {
      MutexLock lock(&mutex_);
      ASSIGN_OR_RETURN(updates, decide(state_));
    }
    if (updates.empty()) return absl::OkStatus();
    status = Commit(updates, answers);
    // Tick tries again what does not succeed here.
    if (status.ok()) Settle(answers).IgnoreError();
  }
  for (const auto& answer : answers) answer();
  return status;
}

absl::Status Coordinator::Commit(const std::vector<Update>& updates, Answers& answers) {
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(state_.Validate(updates));
  }
  const absl::Duration start = parts_.clock->Monotonic();
  const absl::Status appended = parts_.journal->Append(epoch_, updates);
  parts_.metrics->CountCommit(appended, parts_.clock->Monotonic() - start);
  RETURN_IF_ERROR(appended);
  std::vector<std::pair<JobId, v1::JobEvent>> events;
  {
    MutexLock lock(&mutex_);
    for (const Update& update : updates) {
      for (auto& event : EventsOf(state_, update)) events.push_back(std::move(event));
      const absl::Status applied = state_.Apply(update);
      BERT_CHECK(applied.ok()) << "a validated, durable update does not apply: " << applied.ToString();
      Follow(update, answers);
    }
    parts_.metrics->SetState(state_, loaders_.count());
  }
  for (const Update& update : updates) Log(update);
  for (const auto& [job, event] : events) {
    spdlog::info("{} job={} generation={}: {}", event.type(), job.value(), event.generation(), event.message());
  }
  parts_.history->AddEvents(std::move(events));
  return absl::OkStatus();
}

absl::Status Coordinator::Settle(Answers& answers) {
  for (int round = 0; round < kSettleRoundsMax; ++round) {
    Decision decision;
    {
      MutexLock lock(&mutex_);
      decision = Decide(state_, Observe(), NowUs());
      if (decision.updates.empty()) {
        SetReasons(std::move(decision.reasons));
        return absl::OkStatus();
      }
    }
    const absl::Status committed = Commit(decision.updates, answers);
    BERT_CHECK(committed.ok() || absl::IsUnavailable(committed) || absl::IsResourceExhausted(committed))
        << "a decision is not valid: " << committed.ToString();
    RETURN_IF_ERROR(committed);
  }
  BERT_CHECK(false) << "decisions do not come to an end";
  return absl::OkStatus();
}

absl::Status Coordinator::Tick() {
  Answers answers;
  absl::Status status;
  {
    MutexLock commit(&commit_mutex_);
    {
      MutexLock lock(&mutex_);
      const absl::Duration now = parts_.clock->Monotonic();
      // This process stood still (a stalled disk, a stopped machine): nobody could renew a lease.
      if (now - last_tick_ > std::max(options_.heartbeat_interval, kStandstill)) RenewAllLeases();
      last_tick_ = now;
      SumHealth();
      if (loaders_.Expire(now)) parts_.metrics->SetState(state_, loaders_.count());
    }
    status = Settle(answers);
    CompactWhereDue();
  }
  for (const auto& answer : answers) answer();
  return status;
}

void Coordinator::CompactWhereDue() {
  const absl::Duration now = parts_.clock->Monotonic();
  if (now < next_compaction_ || !parts_.journal->WantsCompaction()) return;
  const absl::Status compacted = parts_.journal->Compact(epoch_, TakeSnapshot());
  if (compacted.ok()) return;
  spdlog::warn("journal not compacted, next attempt in {}: {}", absl::FormatDuration(kCompactionPause),
               compacted.ToString());
  next_compaction_ = now + kCompactionPause;
}

Snapshot Coordinator::TakeSnapshot() const {
  MutexLock lock(&mutex_);
  return state_.ToSnapshot();
}

Observations Coordinator::Observe() {
  Observations observations;
  const absl::Duration now = parts_.clock->Monotonic();
  for (const auto& [name, node] : state_.nodes()) {
    if (node.lost()) continue;
    const auto session = sessions_.find(name);
    BERT_CHECK(session != sessions_.end()) << "ready node without a session: " << name.value();
    if (session->second.Expired(now)) {
      observations.expired_nodes[name] = absl::StrCat("no heartbeat for ", absl::FormatDuration(options_.lease()));
    }
  }
  for (const auto& [id, meeting] : meetings_) {
    if (meeting.Complete()) {
      observations.met[id] = {meeting.generation(), meeting.store_address()};
    } else if (Overdue(meeting)) {
      observations.overdue[id] = {meeting.generation(), meeting.Joined(),
                                  absl::FormatDuration(options_.rendezvous_timeout)};
    }
  }
  observations.live_loaders = static_cast<int>(loaders_.count());
  return observations;
}

bool Coordinator::Overdue(const Meeting& meeting) const {
  return parts_.clock->Monotonic() - meeting.started() >= options_.rendezvous_timeout;
}

void Coordinator::Follow(const Update& update, Answers& answers) {
  const absl::Duration now = parts_.clock->Monotonic();
  switch (update.update_case()) {
    case Update::kJobSubmitted:
      Touch(JobId(update.job_submitted().job_id()));
      break;
    case Update::kJobCancelRequested: {
      const JobId id(update.job_cancel_requested().job_id());
      EndMeeting(id, absl::FailedPreconditionError(absl::StrCat("job ", id.value(), " is being cancelled")), answers);
      Touch(id);
      break;
    }
    case Update::kGenerationStarted: {
      const auto& started = update.generation_started();
      const JobId id(started.job_id());
      meetings_.insert_or_assign(id, Meeting(started.generation(), started.ranks_size(), now));
      failed_.erase(id);
      Touch(id);
      break;
    }
    case Update::kGenerationFormed: {
      const JobId id(update.generation_formed().job_id());
      const auto meeting = meetings_.find(id);
      if (meeting != meetings_.end()) {
        v1::JoinRendezvousResponse response;
        response.set_world_size(state_.FindJob(id)->ranks_size());
        response.set_store_address(update.generation_formed().store_address());
        meeting->second.Finish(response, answers);
        meetings_.erase(meeting);
      }
      Touch(id);
      break;
    }
    case Update::kRankEnded: {
      const auto& ended = update.rank_ended();
      const JobId id(ended.job_id());
      const std::string& node = state_.FindJob(id)->ranks(ended.rank()).placement().node();
      const auto session = sessions_.find(NodeName(node));
      if (session != sessions_.end()) session->second.Forget({id, ended.generation(), ended.rank()});
      Touch(id);
      break;
    }
    case Update::kGenerationFailed: {
      const auto& failed = update.generation_failed();
      const JobId id(failed.job_id());
      const auto meeting = meetings_.find(id);
      const std::string why = absl::StrCat("generation ", failed.generation(), " of job ", id.value(),
                                           " has failed: ", failed.failure().cause());
      const bool overdue = meeting != meetings_.end() && Overdue(meeting->second);
      EndMeeting(id, overdue ? absl::DeadlineExceededError(why) : absl::FailedPreconditionError(why), answers);
      failed_[id] = {failed.generation(), {}};
      Touch(id);
      break;
    }
    case Update::kFailureAmended:
      Touch(JobId(update.failure_amended().job_id()));
      break;
    case Update::kJobEnded: {
      const JobId id(update.job_ended().job_id());
      EndMeeting(id, absl::FailedPreconditionError(absl::StrCat("job ", id.value(), " has ended")), answers);
      failed_.erase(id);
      reasons_.erase(id);
      Touch(id);
      break;
    }
    case Update::kCheckpointCommitted:
      Touch(JobId(update.checkpoint_committed().checkpoint().job_id()));
      break;
    case Update::kNodeRegistered:
      sessions_.insert_or_assign(NodeName(update.node_registered().node()), NodeSession(now, options_.lease()));
      break;
    case Update::kNodeLost:
    case Update::UPDATE_NOT_SET:
      break;
  }
}

void Coordinator::EndMeeting(const JobId& id, const absl::Status& status, Answers& answers) {
  const auto meeting = meetings_.find(id);
  if (meeting == meetings_.end()) return;
  meeting->second.Finish(status, answers);
  meetings_.erase(meeting);
}

void Coordinator::SetReasons(std::map<JobId, std::string> reasons) {
  for (const auto& [id, reason] : reasons) {
    const auto old = reasons_.find(id);
    if (old == reasons_.end() || old->second != reason) Touch(id);
  }
  reasons_ = std::move(reasons);
}

void Coordinator::RenewAllLeases() {
  for (auto& [name, session] : sessions_) session.Renew(parts_.clock->Monotonic(), options_.lease());
}

v1::Job Coordinator::View(const JobRecord& job) const {
  const JobId id(job.job_id());
  const auto reason = reasons_.find(id);
  const auto progress = progress_.find(id);
  v1::Job view = ToJob(job, reason == reasons_.end() ? "" : reason->second,
                       progress == progress_.end() ? nullptr : &progress->second);
  const auto health = health_.find(id);
  if (health != health_.end()) health->second.FillIn(job.generation_live() ? job.generation() : -1, view);
  return view;
}

}  // namespace bert::coordinator
