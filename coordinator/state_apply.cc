// What each update does. Check has passed.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/state.h"

namespace bert::coordinator {
namespace {

// A late message of an incarnation older than these is taken for a new agent; it then only costs a restart.
constexpr int kSupersededMax = 8;

}  // namespace

void State::Do(int64_t time_us, const journal::v1::JobSubmitted& update) {
  JobRecord& job = jobs_[JobId(update.job_id())];
  job.set_job_id(update.job_id());
  job.set_sequence(next_sequence_++);
  *job.mutable_spec() = update.spec();
  job.set_user(update.user());
  job.set_request_id(update.request_id());
  job.set_state(v1::JOB_STATE_PENDING);
  job.set_submit_time_us(time_us);
  Index(job);
}

void State::Do(int64_t, const journal::v1::JobCancelRequested& update) {
  JobRecord& job = jobs_.at(JobId(update.job_id()));
  job.set_state(v1::JOB_STATE_CANCELLING);
  job.set_cancelled_by(update.user());
}

void State::Do(int64_t time_us, const journal::v1::GenerationStarted& update) {
  JobRecord& job = jobs_.at(JobId(update.job_id()));
  job.set_state(v1::JOB_STATE_STARTING);
  job.set_generation(update.generation());
  job.set_generation_live(true);
  job.set_generation_formed(false);
  job.clear_store_address();
  if (update.generation() == 1) {
    job.set_start_time_us(time_us);
  } else {
    job.set_restarts(job.restarts() + 1);
  }
  job.clear_ranks();
  for (const v1::RankPlacement& placement : update.ranks()) *job.add_ranks()->mutable_placement() = placement;
  Index(job);
}

void State::Do(int64_t, const journal::v1::GenerationFormed& update) {
  JobRecord& job = jobs_.at(JobId(update.job_id()));
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_generation_formed(true);
  job.set_store_address(update.store_address());
}

void State::Do(int64_t, const journal::v1::RankEnded& update) {
  RankRecord& rank = *jobs_.at(JobId(update.job_id())).mutable_ranks(update.rank());
  rank.set_ended(true);
  rank.set_exit_code(update.exit_code());
  rank.set_signal(update.signal());
  Release(rank);
}

void State::Do(int64_t, const journal::v1::GenerationFailed& update) {
  JobRecord& job = jobs_.at(JobId(update.job_id()));
  job.set_state(v1::JOB_STATE_PENDING);
  job.set_generation_live(false);
  *job.mutable_last_failure() = update.failure();
  job.set_last_failure_secondary(update.secondary());
  if (!update.withdrawn()) {
    job.set_failures_without_progress(job.failures_without_progress() + 1);
    if (!job.has_root_cause()) *job.mutable_root_cause() = update.failure();
  }
  job.set_not_before_us(update.not_before_us());
}

void State::Do(int64_t, const journal::v1::FailureAmended& update) {
  JobRecord& job = jobs_.at(JobId(update.job_id()));
  if (job.root_cause().generation() == update.generation()) *job.mutable_root_cause() = update.failure();
  *job.mutable_last_failure() = update.failure();
  job.set_last_failure_secondary(false);
}

void State::Do(int64_t time_us, const journal::v1::JobEnded& update) {
  JobRecord& job = jobs_.at(JobId(update.job_id()));
  queue_.erase(KeyOf(job));
  job.set_state(update.state());
  job.set_reason(update.reason());
  job.set_end_time_us(time_us);
  job.set_generation_live(false);
  job.clear_ranks();
  // Its root cause stays; the rest only led to the next restart, and would fill every snapshot from now on.
  job.clear_last_failure();
}

void State::Do(int64_t, const journal::v1::CheckpointCommitted& update) {
  JobRecord& job = jobs_.at(JobId(update.checkpoint().job_id()));
  // A rerun may commit a step again; its directory is then the new one's, unless that is elsewhere.
  const auto replaced = [&](const v1::Checkpoint& old) { return old.step() == update.checkpoint().step(); };
  const auto dropped = [&](const v1::Checkpoint& old) {
    return replaced(old) || std::find(update.dropped_steps().begin(), update.dropped_steps().end(), old.step()) !=
                                update.dropped_steps().end();
  };
  job.clear_dropped_directories();
  auto& checkpoints = *job.mutable_checkpoints();
  for (const v1::Checkpoint& old : checkpoints) {
    if (dropped(old) && old.directory() != update.checkpoint().directory()) {
      job.add_dropped_directories(old.directory());
    }
  }
  checkpoints.erase(std::remove_if(checkpoints.begin(), checkpoints.end(), dropped), checkpoints.end());
  *checkpoints.Add() = update.checkpoint();
  // Only a step never committed before is progress; a job that always dies at the same place must come to an end.
  if (update.checkpoint().step() > job.highest_step()) {
    job.set_highest_step(update.checkpoint().step());
    job.set_failures_without_progress(0);
    job.clear_root_cause();
  }
}

void State::Do(int64_t, const journal::v1::NodeRegistered& update) {
  const NodeName name(update.node());
  // An agent that is told to stop registers without slots.
  const bool withdrawn = update.slots().empty();
  EndRanksOf(name, withdrawn ? "its agent was told to stop" : "its agent started anew", withdrawn);
  NodeRecord& node = nodes_[name];
  if (!node.incarnation().empty()) {
    node.add_superseded_incarnations(node.incarnation());
    if (node.superseded_incarnations_size() > kSupersededMax) {
      node.mutable_superseded_incarnations()->erase(node.superseded_incarnations().begin());
    }
  }
  node.set_node(update.node());
  node.set_incarnation(update.incarnation());
  *node.mutable_slots() = update.slots();
  node.set_address(update.address());
  node.set_version(update.version());
  node.set_lost(false);
  node.clear_lost_reason();
}

void State::Do(int64_t, const journal::v1::NodeLost& update) {
  EndRanksOf(NodeName(update.node()), update.reason(), /*withdrawn=*/false);
  NodeRecord& node = nodes_.at(NodeName(update.node()));
  node.set_lost(true);
  node.set_lost_reason(update.reason());
}

void State::EndRanksOf(const NodeName& node, const std::string& lost_reason, bool withdrawn) {
  for (const auto& [slot, holder] : HeldSlots(node)) {
    RankRecord& rank = *jobs_.at(holder.job).mutable_ranks(holder.rank);
    rank.set_ended(true);
    rank.set_lost_reason(lost_reason);
    rank.set_withdrawn(withdrawn);
  }
  held_.erase(node);
}

void State::Release(const RankRecord& rank) {
  const auto node = held_.find(NodeName(rank.placement().node()));
  node->second.erase(rank.placement().slot());
  if (node->second.empty()) held_.erase(node);
}

}  // namespace bert::coordinator
