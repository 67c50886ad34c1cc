#include "coordinator/state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace bert::coordinator {

bool IsActive(v1::JobState state) {
  return state == v1::JOB_STATE_PENDING || state == v1::JOB_STATE_STARTING || state == v1::JOB_STATE_RUNNING ||
         state == v1::JOB_STATE_CANCELLING;
}

std::string StateName(v1::JobState state) {
  constexpr size_t kPrefix = sizeof("JOB_STATE_") - 1;
  return v1::JobState_Name(state).substr(kPrefix);
}

bool AllRanksEnded(const JobRecord& job) {
  return std::all_of(job.ranks().begin(), job.ranks().end(), [](const RankRecord& rank) { return rank.ended(); });
}

absl::StatusOr<State> State::FromSnapshot(const Snapshot& snapshot) {
  State state;
  state.next_sequence_ = std::max<int64_t>(1, snapshot.next_sequence());
  for (const NodeRecord& node : snapshot.nodes()) {
    if (!state.nodes_.emplace(NodeName(node.node()), node).second) {
      return absl::InvalidArgumentError(absl::StrCat("the snapshot has node '", node.node(), "' twice"));
    }
  }
  for (const JobRecord& job : snapshot.jobs()) {
    if (!state.jobs_.emplace(JobId(job.job_id()), job).second) {
      return absl::InvalidArgumentError(absl::StrCat("the snapshot has job '", job.job_id(), "' twice"));
    }
    for (const RankRecord& rank : job.ranks()) {
      if (!rank.ended() && state.HeldSlots(NodeName(rank.placement().node())).contains(rank.placement().slot())) {
        return absl::InvalidArgumentError(absl::StrCat("the snapshot has slot ", rank.placement().slot(), " of node '",
                                                       rank.placement().node(), "' held twice"));
      }
    }
    state.Index(job);
  }
  return state;
}

Snapshot State::ToSnapshot() const {
  Snapshot snapshot;
  snapshot.set_next_sequence(next_sequence_);
  for (const auto& [id, job] : jobs_) *snapshot.add_jobs() = job;
  for (const auto& [name, node] : nodes_) *snapshot.add_nodes() = node;
  return snapshot;
}

absl::Status State::Validate(absl::Span<const Update> updates) const {
  State scratch = Excerpt(updates);
  for (const Update& update : updates) RETURN_IF_ERROR(scratch.Apply(update));
  return absl::OkStatus();
}

absl::Status State::Apply(const Update& update) {
  RETURN_IF_ERROR(Check(update));
  const int64_t time_us = update.time_us();
  switch (update.update_case()) {
    case Update::kJobSubmitted:
      Do(time_us, update.job_submitted());
      break;
    case Update::kJobCancelRequested:
      Do(time_us, update.job_cancel_requested());
      break;
    case Update::kGenerationStarted:
      Do(time_us, update.generation_started());
      break;
    case Update::kGenerationFormed:
      Do(time_us, update.generation_formed());
      break;
    case Update::kRankEnded:
      Do(time_us, update.rank_ended());
      break;
    case Update::kGenerationFailed:
      Do(time_us, update.generation_failed());
      break;
    case Update::kFailureAmended:
      Do(time_us, update.failure_amended());
      break;
    case Update::kJobEnded:
      Do(time_us, update.job_ended());
      break;
    case Update::kCheckpointCommitted:
      Do(time_us, update.checkpoint_committed());
      break;
    case Update::kNodeRegistered:
      Do(time_us, update.node_registered());
      break;
    case Update::kNodeLost:
      Do(time_us, update.node_lost());
      break;
    case Update::UPDATE_NOT_SET:  // Check has refused it.
      break;
  }
  return absl::OkStatus();
}

std::vector<const JobRecord*> State::ActiveJobs() const {
  std::vector<const JobRecord*> active;
  active.reserve(queue_.size());
  for (const auto& [key, id] : queue_) active.push_back(&jobs_.at(id));
  return active;
}

const JobRecord* State::FindJob(const JobId& id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

const NodeRecord* State::FindNode(const NodeName& name) const {
  const auto it = nodes_.find(name);
  return it == nodes_.end() ? nullptr : &it->second;
}

const JobRecord* State::FindRequest(const std::string& request_id) const {
  const auto it = requests_.find(request_id);
  return it == requests_.end() ? nullptr : FindJob(it->second);
}

const std::map<int32_t, SlotHolder>& State::HeldSlots(const NodeName& node) const {
  static const auto* const kNone = new std::map<int32_t, SlotHolder>;
  const auto it = held_.find(node);
  return it == held_.end() ? *kNone : it->second;
}

State::QueueKey State::KeyOf(const JobRecord& job) {
  return {-static_cast<int64_t>(job.spec().priority()), job.sequence()};
}

void State::Index(const JobRecord& job) {
  const JobId id(job.job_id());
  if (IsActive(job.state())) queue_[KeyOf(job)] = id;
  if (!job.request_id().empty()) requests_[job.request_id()] = id;
  for (const RankRecord& rank : job.ranks()) {
    if (rank.ended()) continue;
    held_[NodeName(rank.placement().node())][rank.placement().slot()] = {id, rank.placement().rank()};
  }
}

void State::CopyJob(const JobId& id, State& to) const {
  const JobRecord* const job = FindJob(id);
  if (job == nullptr || to.jobs_.contains(id)) return;
  to.jobs_[id] = *job;
  to.Index(*job);
}

void State::CopyNode(const NodeName& name, State& to) const {
  const NodeRecord* const node = FindNode(name);
  if (node != nullptr) to.nodes_[name] = *node;
  for (const auto& [slot, holder] : HeldSlots(name)) CopyJob(holder.job, to);
}

State State::Excerpt(absl::Span<const Update> updates) const {
  State excerpt;
  excerpt.next_sequence_ = next_sequence_;
  for (const Update& update : updates) {
    switch (update.update_case()) {
      case Update::kJobSubmitted:
        CopyJob(JobId(update.job_submitted().job_id()), excerpt);
        if (const JobRecord* job = FindRequest(update.job_submitted().request_id()); job != nullptr) {
          CopyJob(JobId(job->job_id()), excerpt);
        }
        break;
      case Update::kJobCancelRequested:
        CopyJob(JobId(update.job_cancel_requested().job_id()), excerpt);
        break;
      case Update::kGenerationStarted:
        CopyJob(JobId(update.generation_started().job_id()), excerpt);
        for (const v1::RankPlacement& rank : update.generation_started().ranks()) {
          CopyNode(NodeName(rank.node()), excerpt);
        }
        break;
      case Update::kGenerationFormed:
        CopyJob(JobId(update.generation_formed().job_id()), excerpt);
        break;
      case Update::kRankEnded:
        CopyJob(JobId(update.rank_ended().job_id()), excerpt);
        break;
      case Update::kGenerationFailed:
        CopyJob(JobId(update.generation_failed().job_id()), excerpt);
        break;
      case Update::kFailureAmended:
        CopyJob(JobId(update.failure_amended().job_id()), excerpt);
        break;
      case Update::kJobEnded:
        CopyJob(JobId(update.job_ended().job_id()), excerpt);
        break;
      case Update::kCheckpointCommitted:
        CopyJob(JobId(update.checkpoint_committed().checkpoint().job_id()), excerpt);
        break;
      case Update::kNodeRegistered:
        CopyNode(NodeName(update.node_registered().node()), excerpt);
        break;
      case Update::kNodeLost:
        CopyNode(NodeName(update.node_lost().node()), excerpt);
        break;
      case Update::UPDATE_NOT_SET:
        break;
    }
  }
  return excerpt;
}

}  // namespace bert::coordinator
