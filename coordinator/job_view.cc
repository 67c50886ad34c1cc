#include "coordinator/job_view.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/timestamps.h"

namespace bert::coordinator {
namespace {

// "a:0,1 b:0": the slots by node.
std::string Placement(const google::protobuf::RepeatedPtrField<v1::RankPlacement>& ranks) {
  std::map<std::string, std::vector<int32_t>> slots;
  for (const v1::RankPlacement& rank : ranks) slots[rank.node()].push_back(rank.slot());
  return absl::StrJoin(slots, " ", [](std::string* out, const auto& node) {
    absl::StrAppend(out, node.first, ":", absl::StrJoin(node.second, ","));
  });
}

class EventList {
 public:
  explicit EventList(int64_t time_us) : time_us_(time_us) {}

  void Add(const std::string& job, int64_t generation, const std::string& type, const std::string& message) {
    v1::JobEvent event;
    *event.mutable_time() = ToTimestamp(time_us_);
    event.set_generation(generation);
    event.set_type(type);
    event.set_message(message);
    events_.emplace_back(JobId(job), std::move(event));
  }
  std::vector<std::pair<JobId, v1::JobEvent>> Take() { return std::move(events_); }

 private:
  const int64_t time_us_;
  std::vector<std::pair<JobId, v1::JobEvent>> events_;
};

int64_t GenerationOf(const State& state, const std::string& job) {
  const JobRecord* const record = state.FindJob(JobId(job));
  return record == nullptr ? 0 : record->generation();
}

}  // namespace

v1::Job ToJob(const JobRecord& record, const std::string& reason, const JobProgress* progress) {
  v1::Job job;
  job.set_id(record.job_id());
  *job.mutable_spec() = record.spec();
  job.set_state(record.state());
  job.set_reason(IsActive(record.state()) ? reason : record.reason());
  job.set_user(record.user());
  *job.mutable_submit_time() = ToTimestamp(record.submit_time_us());
  if (record.start_time_us() > 0) *job.mutable_start_time() = ToTimestamp(record.start_time_us());
  if (record.end_time_us() > 0) *job.mutable_end_time() = ToTimestamp(record.end_time_us());
  job.set_generation(record.generation());
  job.set_restarts(record.restarts());
  if (record.generation_live()) {
    for (const RankRecord& rank : record.ranks()) *job.add_ranks() = rank.placement();
  }
  if (progress != nullptr && progress->last_step.has_value()) *job.mutable_last_step() = *progress->last_step;
  if (progress != nullptr && progress->last_validation.has_value()) {
    *job.mutable_last_validation() = *progress->last_validation;
  }
  if (progress != nullptr && progress->time_shares.has_value()) *job.mutable_time_shares() = *progress->time_shares;
  if (!record.checkpoints().empty()) job.set_checkpoint_step(record.checkpoints().rbegin()->step());
  if (record.has_root_cause()) *job.mutable_root_cause() = record.root_cause();
  return job;
}

std::vector<std::pair<JobId, v1::JobEvent>> EventsOf(const State& before, const Update& update) {
  EventList events(update.time_us());
  switch (update.update_case()) {
    case Update::kJobSubmitted: {
      const auto& submitted = update.job_submitted();
      events.Add(submitted.job_id(), 0, "SUBMITTED", absl::StrCat("by ", submitted.user()));
      break;
    }
    case Update::kJobCancelRequested: {
      const auto& cancel = update.job_cancel_requested();
      events.Add(cancel.job_id(), GenerationOf(before, cancel.job_id()), "CANCEL_REQUESTED",
                 cancel.user().empty() ? "" : absl::StrCat("by ", cancel.user()));
      break;
    }
    case Update::kGenerationStarted: {
      const auto& started = update.generation_started();
      events.Add(started.job_id(), started.generation(), "GENERATION_STARTED",
                 absl::StrCat(started.ranks_size(), started.ranks_size() == 1 ? " rank on " : " ranks on ",
                              Placement(started.ranks())));
      break;
    }
    case Update::kGenerationFormed: {
      const auto& formed = update.generation_formed();
      events.Add(formed.job_id(), formed.generation(), "GENERATION_FORMED", "all ranks have met");
      break;
    }
    case Update::kRankEnded: {
      const auto& ended = update.rank_ended();
      events.Add(ended.job_id(), ended.generation(), "RANK_ENDED",
                 ended.signal() != 0
                     ? absl::StrCat("rank ", ended.rank(), " ended by signal ", ended.signal())
                     : absl::StrCat("rank ", ended.rank(), " ended with exit code ", ended.exit_code()));
      break;
    }
    case Update::kGenerationFailed: {
      const auto& failed = update.generation_failed();
      events.Add(failed.job_id(), failed.generation(), "RANK_FAILED", failed.failure().cause());
      break;
    }
    case Update::kFailureAmended: {
      const auto& amended = update.failure_amended();
      events.Add(amended.job_id(), amended.generation(), "RANK_FAILED",
                 absl::StrCat("the cause: ", amended.failure().cause()));
      break;
    }
    case Update::kJobEnded: {
      const auto& ended = update.job_ended();
      events.Add(ended.job_id(), GenerationOf(before, ended.job_id()), StateName(ended.state()), ended.reason());
      break;
    }
    case Update::kCheckpointCommitted: {
      const auto& committed = update.checkpoint_committed();
      const v1::Checkpoint& checkpoint = committed.checkpoint();
      events.Add(checkpoint.job_id(), checkpoint.generation(), "CHECKPOINT_COMMITTED",
                 absl::StrCat("step ", checkpoint.step(), " in ", checkpoint.directory()));
      if (!committed.dropped_steps().empty()) {
        events.Add(checkpoint.job_id(), checkpoint.generation(), "CHECKPOINT_DROPPED",
                   absl::StrCat(committed.dropped_steps_size() == 1 ? "step " : "steps ",
                                absl::StrJoin(committed.dropped_steps(), ", "), " (checkpoint.keep_last)"));
      }
      break;
    }
    case Update::kNodeRegistered:
    case Update::kNodeLost:
    case Update::UPDATE_NOT_SET:
      break;
  }
  return events.Take();
}

}  // namespace bert::coordinator
