#include "coordinator/report.h"

#include <map>
#include <utility>

#include "coordinator/failure.h"

namespace bert::coordinator {
namespace {

// Stands for an exit code that nobody saw.
constexpr int32_t kExitUnknown = -1;

RankFailure FailureOf(const v1::RankStatus& status, const std::string& node, bool formed) {
  RankFailure failure{.rank = status.rank(), .node = node, .exit_code = status.exit_code(), .signal = status.signal()};
  failure.detail = status.detail();
  if (status.exit_code() == 0 && status.signal() == 0 && !formed) failure.detail = "before all ranks had met";
  failure.log_tail.assign(status.log_tail().begin(), status.log_tail().end());
  return failure;
}

}  // namespace

bool IsWanted(const JobRecord& job) {
  return job.state() == v1::JOB_STATE_STARTING || job.state() == v1::JOB_STATE_RUNNING;
}

std::vector<Update> EndsInReport(const State& state, const NodeSession& session, const v1::HeartbeatRequest& request,
                                 bool is_news, const std::function<bool(const JobRecord&)>& told_to_end,
                                 int64_t now_us) {
  std::map<RankKey, const v1::RankStatus*> reported;
  for (const v1::RankStatus& status : request.ranks()) {
    reported[{JobId(status.job_id()), status.generation(), status.rank()}] = &status;
  }
  std::vector<Update> updates;
  std::map<JobId, std::vector<RankFailure>> failures;
  const auto end = [&](const RankKey& key, int32_t exit_code, int32_t signal) {
    Update& update = updates.emplace_back();
    update.set_time_us(now_us);
    auto& ended = *update.mutable_rank_ended();
    ended.set_job_id(key.job.value());
    ended.set_generation(key.generation);
    ended.set_rank(key.rank);
    ended.set_exit_code(exit_code);
    ended.set_signal(signal);
  };
  for (const auto& [slot, holder] : state.HeldSlots(NodeName(request.node()))) {
    const JobRecord& job = *state.FindJob(holder.job);
    const RankKey key{holder.job, job.generation(), holder.rank};
    const auto found = reported.find(key);
    if (found != reported.end()) {
      const v1::RankStatus& status = *found->second;
      if (status.state() != v1::RANK_STATE_EXITED) continue;
      end(key, status.exit_code(), status.signal());
      const bool ended_well = status.exit_code() == 0 && status.signal() == 0 && job.generation_formed();
      if (!ended_well) failures[key.job].push_back(FailureOf(status, request.node(), job.generation_formed()));
    } else if (is_news && session.WasReported(key)) {
      end(key, kExitUnknown, 0);
      failures[key.job].push_back(
          {.rank = key.rank, .node = request.node(), .gone = "its agent does not report it any more"});
    } else if (is_news && !IsWanted(job)) {
      end(key, kExitUnknown, 0);
    }
  }
  for (const auto& [id, of_job] : failures) {
    const JobRecord& job = *state.FindJob(id);
    const RankFailure& primary = PrimaryFailure(of_job);
    const v1::Failure failure = ToProto(primary, job.generation(), now_us);
    if (IsWanted(job)) {
      updates.push_back(GenerationFailedUpdate(job, failure, IsSecondary(primary), now_us));
    } else if (job.state() == v1::JOB_STATE_PENDING && job.last_failure_secondary() && !IsSecondary(primary) &&
               (primary.exit_code != 0 || primary.signal != 0) && !(told_to_end(job) && LooksLikeToldToEnd(primary))) {
      Update& update = updates.emplace_back();
      update.set_time_us(now_us);
      auto& amended = *update.mutable_failure_amended();
      amended.set_job_id(job.job_id());
      amended.set_generation(job.generation());
      *amended.mutable_failure() = failure;
    }
  }
  return updates;
}

}  // namespace bert::coordinator
