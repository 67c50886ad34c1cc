// What people do with jobs, checkpoints and nodes.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/spec/job_spec.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/job_view.h"
#include "coordinator/timestamps.h"

namespace bert::coordinator {
namespace {

constexpr int kIdTokenLength = 6;
constexpr int kPageSizeMax = 1000;
constexpr size_t kPageBytesMax = 2 << 20;
constexpr size_t kNameBytesMax = 256;

absl::Status NoSuchJob(const std::string& id) { return absl::NotFoundError(absl::StrCat("no job '", id, "'")); }

bool SameSpec(const v1::JobSpec& a, const v1::JobSpec& b) { return a.SerializeAsString() == b.SerializeAsString(); }

}  // namespace

absl::StatusOr<v1::Job> Coordinator::SubmitJob(const v1::SubmitJobRequest& request) {
  ASSIGN_OR_RETURN(const v1::JobSpec spec, spec::Complete(request.spec()));
  RETURN_IF_ERROR(spec::Validate(spec));
  if (request.user().size() > kNameBytesMax || request.request_id().size() > kNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("user and request_id have at most ", kNameBytesMax, " bytes"));
  }
  Update update;
  auto& submitted = *update.mutable_job_submitted();
  *submitted.mutable_spec() = spec;
  submitted.set_user(request.user().empty() ? "anonymous" : request.user());
  submitted.set_request_id(request.request_id());
  if (request.dry_run()) {
    MutexLock lock(&mutex_);
    submitted.set_job_id(absl::StrCat(spec.name(), "-dry-run"));
    submitted.clear_request_id();
    return DryRun(update);
  }
  JobId id;
  const absl::Status status = Transact([&](const State& state) -> absl::StatusOr<std::vector<Update>> {
    const JobRecord* const existing = request.request_id().empty() ? nullptr : state.FindRequest(request.request_id());
    if (existing != nullptr) {
      if (!SameSpec(existing->spec(), spec)) {
        return absl::AlreadyExistsError(absl::StrCat("request '", request.request_id(), "' has made job ",
                                                     existing->job_id(), " from another spec"));
      }
      id = JobId(existing->job_id());
      return std::vector<Update>();
    }
    if (state.active_count() >= options_.active_jobs_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("there are ", state.active_count(), " jobs that have not ended; wait for some, or cancel some"));
    }
    do {
      id = JobId(absl::StrCat(spec.name(), "-", options_.random_token(kIdTokenLength)));
    } while (state.FindJob(id) != nullptr);
    submitted.set_job_id(id.value());
    update.set_time_us(NowUs());
    return std::vector<Update>{update};
  });
  RETURN_IF_ERROR(status);
  return GetJob(id.value());
}

absl::StatusOr<v1::Job> Coordinator::DryRun(Update submitted) {
  const JobId id(submitted.job_submitted().job_id());
  const int64_t needed = submitted.job_submitted().spec().workers().min();
  int64_t slots = 0;
  for (const auto& [name, node] : state_.nodes()) slots += node.lost() ? 0 : node.slots_size();
  // Where there is no node yet, nobody can say what there will be.
  if (slots > 0 && needed > slots) {
    return absl::FailedPreconditionError(absl::StrCat("needs ", needed, " slots; all nodes together have ", slots,
                                                      ". Start more agents, or lower workers.min"));
  }
  submitted.set_time_us(NowUs());
  State scratch = state_;
  RETURN_IF_ERROR(scratch.Apply(submitted));
  const Decision decision = Decide(scratch, Observe(), NowUs());
  const auto reason = decision.reasons.find(id);
  v1::Job job = ToJob(*scratch.FindJob(id), reason == decision.reasons.end() ? "" : reason->second, nullptr);
  job.clear_id();
  return job;
}

absl::StatusOr<v1::Job> Coordinator::GetJob(const std::string& job_id) const {
  MutexLock lock(&mutex_);
  const JobRecord* const job = state_.FindJob(JobId(job_id));
  if (job == nullptr) return NoSuchJob(job_id);
  return View(*job);
}

uint64_t Coordinator::JobVersion(const JobId& id) const {
  MutexLock lock(&mutex_);
  const auto it = versions_.find(id);
  return it == versions_.end() ? 0 : it->second;
}

absl::StatusOr<v1::ListJobsResponse> Coordinator::ListJobs(const v1::ListJobsRequest& request) const {
  if (request.page_size() < 0) return absl::InvalidArgumentError("page_size is negative");
  const int page_size = request.page_size() == 0 ? kPageSizeMax : std::min(request.page_size(), kPageSizeMax);
  int64_t before = INT64_MAX;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &before)) {
    return absl::InvalidArgumentError("page_token is not one that this service gave");
  }
  std::set<v1::JobState> states;
  for (const int state : request.states()) states.insert(static_cast<v1::JobState>(state));
  MutexLock lock(&mutex_);
  std::vector<const JobRecord*> matching;
  for (const auto& [id, job] : state_.jobs()) {
    if (job.sequence() >= before) continue;
    if (!states.empty() && !states.contains(job.state())) continue;
    if (!request.user().empty() && request.user() != job.user()) continue;
    matching.push_back(&job);
  }
  std::sort(matching.begin(), matching.end(),
            [](const JobRecord* a, const JobRecord* b) { return a->sequence() > b->sequence(); });
  v1::ListJobsResponse response;
  size_t bytes = 0;
  for (size_t i = 0; i < matching.size(); ++i) {
    if (response.jobs_size() == page_size || bytes > kPageBytesMax) {
      response.set_next_page_token(absl::StrCat(matching[i - 1]->sequence()));
      break;
    }
    v1::Job& job = *response.add_jobs();
    job = View(*matching[i]);
    bytes += job.ByteSizeLong();
  }
  return response;
}

absl::StatusOr<v1::Job> Coordinator::CancelJob(const v1::CancelJobRequest& request, const std::string& user) {
  const absl::Status status = Transact([&](const State& state) -> absl::StatusOr<std::vector<Update>> {
    const JobRecord* const job = state.FindJob(JobId(request.job_id()));
    if (job == nullptr) return NoSuchJob(request.job_id());
    if (!IsActive(job->state()) || job->state() == v1::JOB_STATE_CANCELLING) return std::vector<Update>();
    std::vector<Update> updates(1);
    updates[0].set_time_us(NowUs());
    updates[0].mutable_job_cancel_requested()->set_job_id(request.job_id());
    updates[0].mutable_job_cancel_requested()->set_user(user);
    return updates;
  });
  RETURN_IF_ERROR(status);
  return GetJob(request.job_id());
}

absl::StatusOr<v1::ListCheckpointsResponse> Coordinator::ListCheckpoints(const std::string& job_id) const {
  MutexLock lock(&mutex_);
  const JobRecord* const job = state_.FindJob(JobId(job_id));
  if (job == nullptr) return NoSuchJob(job_id);
  v1::ListCheckpointsResponse response;
  for (auto it = job->checkpoints().rbegin(); it != job->checkpoints().rend(); ++it) {
    *response.add_checkpoints() = *it;
  }
  return response;
}

v1::ListNodesResponse Coordinator::ListNodes() const {
  MutexLock lock(&mutex_);
  v1::ListNodesResponse response;
  for (const auto& [name, record] : state_.nodes()) {
    v1::Node& node = *response.add_nodes();
    node.set_name(name.value());
    node.set_state(record.lost() ? v1::NODE_STATE_LOST : v1::NODE_STATE_READY);
    node.set_version(record.version());
    node.set_address(record.address());
    const auto session = sessions_.find(name);
    if (session != sessions_.end() && session->second.last_heartbeat != absl::InfinitePast()) {
      *node.mutable_last_heartbeat() = ToTimestamp(absl::ToUnixMicros(session->second.last_heartbeat));
    }
    const auto& held = state_.HeldSlots(name);
    for (const v1::Slot& slot : record.slots()) {
      v1::SlotStatus& status = *node.add_slots();
      *status.mutable_slot() = slot;
      const auto holder = held.find(slot.index());
      if (holder == held.end()) continue;
      status.set_job_id(holder->second.job.value());
      status.set_rank(holder->second.rank);
    }
  }
  for (v1::Loader& loader : loaders_.List()) *response.add_loaders() = std::move(loader);
  return response;
}

}  // namespace bert::coordinator
