#include "coordinator/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "coordinator/failure.h"

namespace bert::coordinator {
namespace {

Update At(int64_t now_us) {
  Update update;
  update.set_time_us(now_us);
  return update;
}

std::string Slots(int64_t count) { return absl::StrCat(count, count == 1 ? " slot" : " slots"); }

std::string Ranks(const std::vector<int32_t>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

std::vector<int32_t> UnendedRanks(const JobRecord& job) {
  std::vector<int32_t> unended;
  for (const RankRecord& rank : job.ranks()) {
    if (!rank.ended()) unended.push_back(rank.placement().rank());
  }
  return unended;
}

// The first rank whose node took it away, a failure before a node that was told to stop; null where none is lost.
const RankRecord* LostRank(const JobRecord& job) {
  const RankRecord* lost = nullptr;
  for (const RankRecord& rank : job.ranks()) {
    if (rank.lost_reason().empty()) continue;
    if (!rank.withdrawn()) return &rank;
    if (lost == nullptr) lost = &rank;
  }
  return lost;
}

v1::Failure FailureOf(const JobRecord& job, const RankRecord& lost, int64_t now_us) {
  const v1::RankPlacement& placement = lost.placement();
  return ToProto({.rank = placement.rank(), .node = placement.node(), .gone = lost.lost_reason()}, job.generation(),
                 now_us);
}

// nullopt while the job may restart; else why not.
std::optional<std::string> NoRestartLeft(const JobRecord& job) {
  const v1::RestartSpec& limits = job.spec().restarts();
  if (job.failures_without_progress() == 0) return std::nullopt;
  std::string first = absl::StrCat("; first failure since: ", job.root_cause().cause());
  // A job can fail for one reason and be unable to resume for another.
  if (job.last_failure().cause() != job.root_cause().cause()) {
    absl::StrAppend(&first, "; the last: ", job.last_failure().cause());
  }
  if (job.failures_without_progress() > limits.max_without_progress()) {
    return absl::StrCat("failed ", job.failures_without_progress(), " times in a row without a new checkpoint (",
                        "restarts.max_without_progress is ", limits.max_without_progress(), ")", first);
  }
  if (job.restarts() >= limits.max()) {
    return absl::StrCat("failed after ", job.restarts(), " restarts (restarts.max is ", limits.max(), ")", first);
  }
  return std::nullopt;
}

Update Ended(const JobRecord& job, v1::JobState state, const std::string& reason, int64_t now_us) {
  Update update = At(now_us);
  auto& ended = *update.mutable_job_ended();
  ended.set_job_id(job.job_id());
  ended.set_state(state);
  ended.set_reason(reason);
  return update;
}

void LoseNodes(const State& state, const Observations& observations, int64_t now_us, std::vector<Update>& updates) {
  for (const auto& [name, reason] : observations.expired_nodes) {
    const NodeRecord* const node = state.FindNode(name);
    if (node == nullptr || node->lost()) continue;
    Update update = At(now_us);
    auto& lost = *update.mutable_node_lost();
    lost.set_node(name.value());
    lost.set_incarnation(node->incarnation());
    lost.set_reason(reason);
    updates.push_back(std::move(update));
  }
}

// Ends what has come to its end, in the order of the queue.
void Conclude(const JobRecord& job, const Observations& observations, int64_t now_us, std::vector<Update>& updates) {
  const RankRecord* const lost = LostRank(job);
  switch (job.state()) {
    case v1::JOB_STATE_STARTING:
    case v1::JOB_STATE_RUNNING: {
      if (lost != nullptr) {
        updates.push_back(GenerationFailedUpdate(job, FailureOf(job, *lost, now_us), /*secondary=*/false, now_us));
        updates.back().mutable_generation_failed()->set_withdrawn(lost->withdrawn());
        return;
      }
      const auto met = observations.met.find(JobId(job.job_id()));
      if (job.state() == v1::JOB_STATE_STARTING && met != observations.met.end() &&
          met->second.generation == job.generation()) {
        Update update = At(now_us);
        auto& formed = *update.mutable_generation_formed();
        formed.set_job_id(job.job_id());
        formed.set_generation(job.generation());
        formed.set_store_address(met->second.store_address);
        updates.push_back(std::move(update));
        return;
      }
      const auto overdue = observations.overdue.find(JobId(job.job_id()));
      if (job.state() == v1::JOB_STATE_STARTING && overdue != observations.overdue.end() &&
          overdue->second.generation == job.generation()) {
        std::vector<int32_t> missing;
        for (const RankRecord& rank : job.ranks()) {
          if (!overdue->second.joined.contains(rank.placement().rank())) missing.push_back(rank.placement().rank());
        }
        RankFailure failure{.rank = missing.empty() ? 0 : missing.front()};
        failure.node = job.ranks(failure.rank).placement().node();
        v1::Failure proto = ToProto(failure, job.generation(), now_us);
        proto.set_cause(absl::StrCat(Ranks(missing), " of ", job.ranks_size(), " did not join the rendezvous within ",
                                     overdue->second.waited, " (rank ", failure.rank, " is on node ", failure.node,
                                     ")"));
        updates.push_back(GenerationFailedUpdate(job, proto, /*secondary=*/false, now_us));
        return;
      }
      if (job.state() == v1::JOB_STATE_RUNNING && AllRanksEnded(job)) {
        updates.push_back(Ended(job, v1::JOB_STATE_SUCCEEDED, "", now_us));
      }
      return;
    }
    case v1::JOB_STATE_CANCELLING:
      if (AllRanksEnded(job)) {
        const std::string by = job.cancelled_by().empty() ? "" : absl::StrCat(" by ", job.cancelled_by());
        updates.push_back(Ended(job, v1::JOB_STATE_CANCELLED, absl::StrCat("cancelled", by), now_us));
      }
      return;
    case v1::JOB_STATE_PENDING: {
      if (job.last_failure_secondary() && lost != nullptr) {
        Update update = At(now_us);
        auto& amended = *update.mutable_failure_amended();
        amended.set_job_id(job.job_id());
        amended.set_generation(job.generation());
        *amended.mutable_failure() = FailureOf(job, *lost, now_us);
        updates.push_back(std::move(update));
        return;
      }
      const std::optional<std::string> over = NoRestartLeft(job);
      if (over.has_value() && AllRanksEnded(job)) {
        updates.push_back(Ended(job, v1::JOB_STATE_FAILED, *over, now_us));
      }
      return;
    }
    default:
      return;
  }
}

// The free slots of all ready nodes, packed by node name.
class FreeSlots {
 public:
  explicit FreeSlots(const State& state) {
    for (const auto& [name, node] : state.nodes()) {
      if (node.lost()) continue;
      const auto& held = state.HeldSlots(name);
      registered_ += node.slots_size();
      ++ready_nodes_;
      std::vector<int32_t> indices;
      for (const v1::Slot& slot : node.slots()) {
        if (!held.contains(slot.index())) indices.push_back(slot.index());
      }
      std::sort(indices.begin(), indices.end());
      for (const int32_t index : indices) free_.emplace_back(name, index);
    }
  }

  int64_t registered() const { return registered_; }
  int64_t ready_nodes() const { return ready_nodes_; }
  int64_t free() const { return static_cast<int64_t>(free_.size() - taken_); }
  std::pair<NodeName, int32_t> Take() { return free_[taken_++]; }

 private:
  std::vector<std::pair<NodeName, int32_t>> free_;
  size_t taken_ = 0;
  int64_t registered_ = 0;
  int64_t ready_nodes_ = 0;
};

Update Start(const JobRecord& job, int64_t rank_count, FreeSlots& slots, int64_t now_us) {
  Update update = At(now_us);
  auto& started = *update.mutable_generation_started();
  started.set_job_id(job.job_id());
  started.set_generation(job.generation() + 1);
  for (int64_t rank = 0; rank < rank_count; ++rank) {
    const auto [node, slot] = slots.Take();
    v1::RankPlacement& placement = *started.add_ranks();
    placement.set_rank(static_cast<int32_t>(rank));
    placement.set_node(node.value());
    placement.set_slot(slot);
  }
  return update;
}

// Why the job itself cannot start now, whatever is free; empty where it can.
std::string NotReady(const JobRecord& job, int64_t now_us) {
  if (const std::vector<int32_t> unended = UnendedRanks(job); !unended.empty()) {
    return absl::StrCat("waits until ", Ranks(unended), " of generation ", job.generation(),
                        unended.size() == 1 ? " has ended" : " have ended", "; ", job.last_failure().cause());
  }
  const int64_t wait_us = job.not_before_us() - now_us;
  // A longer wait can only come from a clock that was set back.
  if (wait_us > 0 && wait_us <= absl::ToInt64Microseconds(kRestartBackoffMax)) {
    return absl::StrCat("restarts after a pause; ", job.last_failure().cause());
  }
  return "";
}

// Serves the queue. Adds the reason of every job that goes on waiting.
void Schedule(const std::vector<const JobRecord*>& queue, const State& state, const Observations& observations,
              int64_t now_us, Decision& decision) {
  FreeSlots slots(state);
  const JobRecord* first_waiting = nullptr;
  for (const JobRecord* job : queue) {
    if (job->state() != v1::JOB_STATE_PENDING) continue;
    std::string& reason = decision.reasons[JobId(job->job_id())];
    const int64_t min = job->spec().workers().min();
    const std::string needs = absl::StrCat("needs ", Slots(min), ", ", slots.free(), " free");
    if (min > slots.registered()) {
      reason = absl::StrCat(needs, "; ",
                            slots.ready_nodes() == 0 ? std::string("no node registered")
                                                     : absl::StrCat("all nodes together have ", slots.registered()));
      if (const std::string own = NotReady(*job, now_us); !own.empty()) reason = absl::StrCat(own, "; ", reason);
      continue;
    }
    if (first_waiting != nullptr) {
      reason = absl::StrCat("waits behind job ", first_waiting->job_id(), "; ", needs);
      continue;
    }
    reason = NotReady(*job, now_us);
    if (reason.empty() && min > slots.free()) reason = needs;
    if (reason.empty() && observations.live_loaders == 0) {
      reason = "no dataloader registered (start bert-dataloader with --coordinator)";
    }
    if (!reason.empty()) {
      first_waiting = job;
      continue;
    }
    const int64_t count = std::min<int64_t>(slots.free(), job->spec().workers().max());
    decision.updates.push_back(Start(*job, count, slots, now_us));
    decision.reasons.erase(JobId(job->job_id()));
  }
}

std::string ReasonOfLive(const JobRecord& job) {
  if (job.state() == v1::JOB_STATE_STARTING) {
    return absl::StrCat("its ", job.ranks_size(), job.ranks_size() == 1 ? " rank starts" : " ranks start and meet");
  }
  return absl::StrCat("waits until ", Ranks(UnendedRanks(job)), " have ended");
}

}  // namespace

Decision Decide(const State& state, const Observations& observations, int64_t now_us) {
  Decision decision;
  LoseNodes(state, observations, now_us, decision.updates);
  const std::vector<const JobRecord*> queue = state.ActiveJobs();
  for (const JobRecord* job : queue) {
    Conclude(*job, observations, now_us, decision.updates);
    if (job->state() == v1::JOB_STATE_STARTING || job->state() == v1::JOB_STATE_CANCELLING) {
      decision.reasons[JobId(job->job_id())] = ReasonOfLive(*job);
    }
  }
  // Slots are given out in a round of their own, on a state that all of the above has reached.
  if (decision.updates.empty()) Schedule(queue, state, observations, now_us, decision);
  return decision;
}

}  // namespace bert::coordinator
