// The rules that an update must keep.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/state.h"

namespace bert::coordinator {
namespace {

absl::Status NoSuchJob(const std::string& id) { return absl::NotFoundError(absl::StrCat("no job '", id, "'")); }

absl::Status WrongState(const JobRecord& job, const std::string& what) {
  return absl::FailedPreconditionError(
      absl::StrCat("job ", job.job_id(), " is ", StateName(job.state()), ": it cannot ", what));
}

absl::Status WrongGeneration(const JobRecord& job, int64_t generation) {
  return absl::FailedPreconditionError(absl::StrCat("generation ", generation, " of job ", job.job_id(),
                                                    " is not its live one (the newest is ", job.generation(),
                                                    job.generation_live() ? ", live)" : ", ended)"));
}

bool HoldsWork(const JobRecord& job) {
  return job.state() == v1::JOB_STATE_STARTING || job.state() == v1::JOB_STATE_RUNNING;
}

bool EndedWell(const RankRecord& rank) {
  return rank.ended() && rank.exit_code() == 0 && rank.signal() == 0 && rank.lost_reason().empty();
}

}  // namespace

absl::Status State::Check(const Update& update) const {
  switch (update.update_case()) {
    case Update::kJobSubmitted:
      return CheckJobSubmitted(update.job_submitted());
    case Update::kJobCancelRequested: {
      const JobRecord* const job = FindJob(JobId(update.job_cancel_requested().job_id()));
      if (job == nullptr) return NoSuchJob(update.job_cancel_requested().job_id());
      if (!IsActive(job->state()) || job->state() == v1::JOB_STATE_CANCELLING) return WrongState(*job, "be cancelled");
      return absl::OkStatus();
    }
    case Update::kGenerationStarted:
      return CheckGenerationStarted(update.generation_started());
    case Update::kGenerationFormed: {
      const JobRecord* const job = FindJob(JobId(update.generation_formed().job_id()));
      if (job == nullptr) return NoSuchJob(update.generation_formed().job_id());
      if (job->state() != v1::JOB_STATE_STARTING) return WrongState(*job, "form a generation");
      if (job->generation() != update.generation_formed().generation()) {
        return WrongGeneration(*job, update.generation_formed().generation());
      }
      return absl::OkStatus();
    }
    case Update::kRankEnded:
      return CheckRankEnded(update.rank_ended());
    case Update::kGenerationFailed: {
      const JobRecord* const job = FindJob(JobId(update.generation_failed().job_id()));
      if (job == nullptr) return NoSuchJob(update.generation_failed().job_id());
      if (!HoldsWork(*job)) return WrongState(*job, "have a generation fail");
      if (job->generation() != update.generation_failed().generation()) {
        return WrongGeneration(*job, update.generation_failed().generation());
      }
      return absl::OkStatus();
    }
    case Update::kFailureAmended: {
      const JobRecord* const job = FindJob(JobId(update.failure_amended().job_id()));
      if (job == nullptr) return NoSuchJob(update.failure_amended().job_id());
      if (job->state() != v1::JOB_STATE_PENDING || !job->last_failure_secondary()) {
        return WrongState(*job, "have a failure amended");
      }
      if (job->last_failure().generation() != update.failure_amended().generation()) {
        return WrongGeneration(*job, update.failure_amended().generation());
      }
      return absl::OkStatus();
    }
    case Update::kJobEnded:
      return CheckJobEnded(update.job_ended());
    case Update::kCheckpointCommitted:
      return CheckCheckpointCommitted(update.checkpoint_committed());
    case Update::kNodeRegistered:
      return CheckNodeRegistered(update.node_registered());
    case Update::kNodeLost: {
      const NodeRecord* const node = FindNode(NodeName(update.node_lost().node()));
      if (node == nullptr) return absl::NotFoundError(absl::StrCat("no node '", update.node_lost().node(), "'"));
      if (node->lost() || node->incarnation() != update.node_lost().incarnation()) {
        return absl::FailedPreconditionError(absl::StrCat(
            "incarnation ", update.node_lost().incarnation(), " of node ", node->node(),
            " cannot be lost: incarnation ", node->incarnation(), node->lost() ? " is lost" : " is ready"));
      }
      // A rank counts as lost by its reason.
      if (update.node_lost().reason().empty()) return absl::InvalidArgumentError("a lost node needs a reason");
      return absl::OkStatus();
    }
    case Update::UPDATE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("an update of a kind that this version does not know");
}

absl::Status State::CheckJobSubmitted(const journal::v1::JobSubmitted& update) const {
  if (update.job_id().empty()) return absl::InvalidArgumentError("a job needs an id");
  if (FindJob(JobId(update.job_id())) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("job '", update.job_id(), "' exists"));
  }
  if (!update.request_id().empty() && requests_.contains(update.request_id())) {
    return absl::AlreadyExistsError(absl::StrCat("request '", update.request_id(), "' has made a job already"));
  }
  const v1::WorkersSpec& workers = update.spec().workers();
  if (workers.min() < 1 || workers.max() < workers.min()) {
    return absl::InvalidArgumentError(
        absl::StrCat("workers.min ", workers.min(), " and workers.max ", workers.max(), " are not a range"));
  }
  return absl::OkStatus();
}

absl::Status State::CheckGenerationStarted(const journal::v1::GenerationStarted& update) const {
  const JobRecord* const job = FindJob(JobId(update.job_id()));
  if (job == nullptr) return NoSuchJob(update.job_id());
  if (job->state() != v1::JOB_STATE_PENDING) return WrongState(*job, "start a generation");
  if (!AllRanksEnded(*job)) return WrongState(*job, "start a generation before its old ranks have ended");
  if (update.generation() != job->generation() + 1) return WrongGeneration(*job, update.generation());
  const v1::WorkersSpec& workers = job->spec().workers();
  if (update.ranks_size() < workers.min() || update.ranks_size() > workers.max()) {
    return absl::FailedPreconditionError(absl::StrCat("job ", job->job_id(), " cannot start with ", update.ranks_size(),
                                                      " ranks: it asks for ", workers.min(), " to ", workers.max()));
  }
  std::set<std::pair<std::string, int32_t>> taken;
  for (int rank = 0; rank < update.ranks_size(); ++rank) {
    const v1::RankPlacement& placement = update.ranks(rank);
    const auto refuse = [&](const std::string& why) {
      return absl::FailedPreconditionError(absl::StrCat("job ", job->job_id(), " cannot have rank ", rank, " in slot ",
                                                        placement.slot(), " of node '", placement.node(), "': ", why));
    };
    if (placement.rank() != rank) return refuse("ranks must be numbered from 0");
    const NodeRecord* const node = FindNode(NodeName(placement.node()));
    if (node == nullptr) return refuse("no such node");
    if (node->lost()) return refuse("the node is lost");
    if (std::none_of(node->slots().begin(), node->slots().end(),
                     [&](const v1::Slot& slot) { return slot.index() == placement.slot(); })) {
      return refuse("no such slot");
    }
    if (HeldSlots(NodeName(placement.node())).contains(placement.slot()) ||
        !taken.emplace(placement.node(), placement.slot()).second) {
      return refuse("the slot is not free");
    }
  }
  return absl::OkStatus();
}

absl::Status State::CheckRankEnded(const journal::v1::RankEnded& update) const {
  const JobRecord* const job = FindJob(JobId(update.job_id()));
  if (job == nullptr) return NoSuchJob(update.job_id());
  if (!IsActive(job->state())) return WrongState(*job, "have a rank end");
  if (job->generation() != update.generation()) return WrongGeneration(*job, update.generation());
  if (update.rank() < 0 || update.rank() >= job->ranks_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("generation ", update.generation(), " of job ", job->job_id(), " has no rank ", update.rank()));
  }
  if (job->ranks(update.rank()).ended()) {
    return absl::FailedPreconditionError(absl::StrCat("rank ", update.rank(), " of generation ", update.generation(),
                                                      " of job ", job->job_id(), " has ended already"));
  }
  return absl::OkStatus();
}

absl::Status State::CheckJobEnded(const journal::v1::JobEnded& update) const {
  const JobRecord* const job = FindJob(JobId(update.job_id()));
  if (job == nullptr) return NoSuchJob(update.job_id());
  if (!AllRanksEnded(*job)) return WrongState(*job, "end before its ranks have ended");
  switch (update.state()) {
    case v1::JOB_STATE_SUCCEEDED:
      if (job->state() == v1::JOB_STATE_RUNNING && std::all_of(job->ranks().begin(), job->ranks().end(), EndedWell)) {
        return absl::OkStatus();
      }
      break;
    case v1::JOB_STATE_FAILED:
      if (job->state() == v1::JOB_STATE_PENDING && job->failures_without_progress() > 0) return absl::OkStatus();
      break;
    case v1::JOB_STATE_CANCELLED:
      if (job->state() == v1::JOB_STATE_CANCELLING) return absl::OkStatus();
      break;
    default:
      break;
  }
  return WrongState(*job, absl::StrCat("become ", StateName(update.state())));
}

absl::Status State::CheckCheckpointCommitted(const journal::v1::CheckpointCommitted& update) const {
  const v1::Checkpoint& checkpoint = update.checkpoint();
  const JobRecord* const job = FindJob(JobId(checkpoint.job_id()));
  if (job == nullptr) return NoSuchJob(checkpoint.job_id());
  if (job->generation() != checkpoint.generation() || !job->generation_live()) {
    return WrongGeneration(*job, checkpoint.generation());
  }
  if (!job->generation_formed()) return WrongState(*job, "commit a checkpoint before its ranks have met");
  if (checkpoint.step() < 1) return absl::InvalidArgumentError("a checkpoint's step is at least 1");
  for (const int64_t step : update.dropped_steps()) {
    const bool held = std::any_of(job->checkpoints().begin(), job->checkpoints().end(),
                                  [&](const v1::Checkpoint& old) { return old.step() == step; });
    if (!held || step == checkpoint.step()) {
      return absl::InvalidArgumentError(
          absl::StrCat("job ", job->job_id(), " has no checkpoint of step ", step, " to drop"));
    }
  }
  return absl::OkStatus();
}

absl::Status State::CheckNodeRegistered(const journal::v1::NodeRegistered& update) const {
  if (update.node().empty() || update.incarnation().empty()) {
    return absl::InvalidArgumentError("a node needs a name and an incarnation");
  }
  std::set<int32_t> indices;
  for (const v1::Slot& slot : update.slots()) {
    if (slot.index() < 0 || !indices.insert(slot.index()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("node '", update.node(), "': slot index ", slot.index(), " is negative or given twice"));
    }
  }
  const NodeRecord* const node = FindNode(NodeName(update.node()));
  if (node == nullptr) return absl::OkStatus();
  // An incarnation registers once: a late copy of its message must not bring back what is lost or replaced.
  if (node->incarnation() == update.incarnation()) {
    return absl::FailedPreconditionError(absl::StrCat("incarnation ", update.incarnation(), " of node '", update.node(),
                                                      "' has registered before; register anew"));
  }
  const auto& superseded = node->superseded_incarnations();
  if (std::find(superseded.begin(), superseded.end(), update.incarnation()) != superseded.end()) {
    return absl::FailedPreconditionError(absl::StrCat("incarnation ", update.incarnation(), " of node '", update.node(),
                                                      "' was replaced by incarnation ", node->incarnation(),
                                                      "; do two agents use the same name?"));
  }
  return absl::OkStatus();
}

}  // namespace bert::coordinator
