// The coordinator: the one owner of State, between its journal and everyone who calls.
//
// Every change goes through Commit: validate the updates, append them durably, apply them; only then is anyone told. A
// command therefore either was acknowledged and survives any crash, or was not acknowledged. After each commit, and
// with time (Tick), Decide says what follows, until nothing does.
//
// Two mutexes. `commit_mutex_` is held over a whole commit, so that nobody changes the state between validating and
// applying; `mutex_` guards the state and everything volatile, and is never held over a write to the disk: reads and
// heartbeats with nothing to write do not wait for one. Each commit syncs by itself; commits that wait for each other
// are not joined into one sync.
//
// What is lost on a restart, and made good: leases (everyone gets a full one), dataloaders and ranks that wait for a
// rendezvous (they call again), progress (reloaded from the history).
#ifndef BERT_COORDINATOR_COORDINATOR_H_
#define BERT_COORDINATOR_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bert/v1/checkpoints.pb.h"
#include "bert/v1/jobs.pb.h"
#include "bert/v1/nodes.pb.h"
#include "bert/v1/worker.pb.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "coordinator/history_sink.h"
#include "coordinator/job_health.h"
#include "coordinator/journal.h"
#include "coordinator/membership.h"
#include "coordinator/metrics.h"
#include "coordinator/rendezvous.h"
#include "coordinator/scheduler.h"
#include "coordinator/state.h"

namespace bert::coordinator {

// Thread-safe. Status codes are those that the service's proto lists for the RPC of the same name.
class Coordinator {
 public:
  struct Options {
    absl::Duration heartbeat_interval = absl::Seconds(1);
    absl::Duration rendezvous_timeout = absl::Seconds(60);
    size_t active_jobs_max = 10'000;
    // `length` random characters of a-z and 2-7.
    std::function<std::string(int length)> random_token;

    absl::Duration lease() const { return 3 * heartbeat_interval; }
  };
  // All outlive the coordinator.
  struct Parts {
    Journal* journal;
    HistorySink* history;
    Clock* clock;
    CoordinatorMetrics* metrics;
  };

  // Replays the journal. `progress` is what the history holds. DATA_LOSS: the journal is damaged.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Recover(Options options, Parts parts,
                                                              std::map<JobId, JobProgress> progress);

  // Leases, timeouts, backoffs, scheduling, compaction: to be called every 100 ms or so. UNAVAILABLE: something had to
  // be written and could not be; the next call tries again.
  absl::Status Tick();

  // What people do (coordinator_jobs.cc).
  absl::StatusOr<v1::Job> SubmitJob(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::Job> GetJob(const std::string& job_id) const;
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) const;
  absl::StatusOr<v1::Job> CancelJob(const v1::CancelJobRequest& request, const std::string& user);
  absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string& job_id) const;
  v1::ListNodesResponse ListNodes() const;
  // Changes whenever GetJob's answer does; 0 for an unknown job.
  uint64_t JobVersion(const JobId& id) const;

  // What agents, trainers and dataloaders do (coordinator_workers.cc).
  absl::StatusOr<v1::RegisterNodeResponse> RegisterNode(const v1::RegisterNodeRequest& request);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  // OK where `incarnation` is the node's live one; else what Heartbeat would answer.
  absl::Status CheckAgent(const std::string& node, const std::string& incarnation) const;
  // `callback` is called exactly once, here or later from another thread, with no lock held, unless the returned id is
  // passed to AbandonJoin first.
  uint64_t JoinRendezvous(const v1::JoinRendezvousRequest& request, JoinCallback callback);
  // After this returns, `callback` is either never called or has begun.
  void AbandonJoin(const std::string& job_id, uint64_t join_id);
  absl::StatusOr<v1::ReportProgressResponse> ReportProgress(const v1::ReportProgressRequest& request);
  absl::StatusOr<v1::CommitCheckpointResponse> CommitCheckpoint(const v1::CommitCheckpointRequest& request);
  absl::StatusOr<v1::LoaderHeartbeatResponse> LoaderHeartbeat(const v1::LoaderHeartbeatRequest& request);

  // A copy, for tests and tools.
  Snapshot TakeSnapshot() const;

 private:
  // A failed generation whose agents may not all know of it yet; only of this process's life.
  struct FailedGeneration {
    int64_t generation = 0;
    std::set<NodeName> told;
  };
  using Decider = absl::FunctionRef<absl::StatusOr<std::vector<Update>>(const State&)>;

  Coordinator(Options options, Parts parts) : options_(std::move(options)), parts_(parts), loaders_(options_.lease()) {}

  // Commits what `decide` returns (nothing where it returns no update), then all that follows. What it returns with is
  // the commit's status alone: what follows is tried again by Tick.
  absl::Status Transact(Decider decide);
  absl::Status Commit(const std::vector<Update>& updates, Answers& answers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  absl::Status Settle(Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);
  void CompactWhereDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);

  Observations Observe() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The volatile side of an update that has been applied.
  void Follow(const Update& update, Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndMeeting(const JobId& id, const absl::Status& status, Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Touch(const JobId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { ++versions_[id]; }
  void SetReasons(std::map<JobId, std::string> reasons) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RenewAllLeases() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeHealth(const v1::ReportProgressRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of all ranks that train, for the metrics.
  void SumHealth() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Overdue(const Meeting& meeting) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  v1::Job View(const JobRecord& job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::Job> DryRun(Update submitted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckSession(const std::string& node, const std::string& incarnation) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<const JobRecord*> LiveJob(const std::string& job_id, int64_t generation) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::HeartbeatResponse Assignments(const NodeName& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t NowUs() const { return absl::ToUnixMicros(parts_.clock->Now()); }

  const Options options_;
  const Parts parts_;

  Mutex commit_mutex_;
  int64_t epoch_ ABSL_GUARDED_BY(commit_mutex_) = 0;
  // Of the monotonic clock.
  absl::Duration next_compaction_ ABSL_GUARDED_BY(commit_mutex_) = -absl::InfiniteDuration();

  mutable Mutex mutex_ ABSL_ACQUIRED_AFTER(commit_mutex_);
  State state_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, std::string> reasons_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, uint64_t> versions_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, JobProgress> progress_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, JobHealth> health_ ABSL_GUARDED_BY(mutex_);
  std::map<NodeName, NodeSession> sessions_ ABSL_GUARDED_BY(mutex_);
  LoaderRegistry loaders_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, Meeting> meetings_ ABSL_GUARDED_BY(mutex_);
  std::map<JobId, FailedGeneration> failed_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_join_id_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::Duration last_tick_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_COORDINATOR_H_
