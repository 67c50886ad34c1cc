// All that the coordinator must not forget: jobs, their generations and checkpoints, and the nodes.
//
// State changes through Apply(update) and in no other way, and Apply depends on nothing but the state and the update.
// Replaying the journal therefore gives the same State, byte for byte (ToSnapshot).
//
// A job's life:
//
//               GenerationStarted       GenerationFormed          JobEnded
//   PENDING ───────────────────► STARTING ──────────────► RUNNING ─────────► SUCCEEDED
//    │ ▲ ▲                          │                        │
//    │ │ └────── GenerationFailed ──┴────────────────────────┘
//    │ └ next generation: once every old rank has ended and the backoff is over
//    ├── JobEnded ──► FAILED     (no restarts left)
//    └── JobCancelRequested (from STARTING and RUNNING too) ──► CANCELLING ── JobEnded ──► CANCELLED
//
// A rank holds its slot from GenerationStarted until RankEnded, or until its node is lost or registers anew. A job has
// at most one generation whose ranks hold slots: the newest.
#ifndef BERT_COORDINATOR_STATE_H_
#define BERT_COORDINATOR_STATE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bert/journal/v1/journal.pb.h"
#include "common/ids.h"

namespace bert::coordinator {

using journal::v1::JobRecord;
using journal::v1::NodeRecord;
using journal::v1::RankRecord;
using journal::v1::Snapshot;
using journal::v1::Update;

// Who holds a slot.
struct SlotHolder {
  JobId job;
  int32_t rank = 0;
};

// Not ended: PENDING, STARTING, RUNNING or CANCELLING.
bool IsActive(v1::JobState state);
// "PENDING" for JOB_STATE_PENDING.
std::string StateName(v1::JobState state);
// No rank of the newest generation holds a slot.
bool AllRanksEnded(const JobRecord& job);

// Not thread-safe. Copyable.
class State {
 public:
  State() = default;
  // INVALID_ARGUMENT: the snapshot contradicts itself.
  static absl::StatusOr<State> FromSnapshot(const Snapshot& snapshot);
  Snapshot ToSnapshot() const;

  // FAILED_PRECONDITION (or NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT) where the updates, applied in order, would
  // break a rule above. Changes nothing.
  absl::Status Validate(absl::Span<const Update> updates) const;
  // Validates, then applies. On an error nothing has changed.
  absl::Status Apply(const Update& update);

  const std::map<JobId, JobRecord>& jobs() const { return jobs_; }
  const std::map<NodeName, NodeRecord>& nodes() const { return nodes_; }
  // Jobs that have not ended, in the order in which the queue serves them: priority, then submission.
  std::vector<const JobRecord*> ActiveJobs() const;
  size_t active_count() const { return queue_.size(); }

  // nullptr: no such job, node, request.
  const JobRecord* FindJob(const JobId& id) const;
  const NodeRecord* FindNode(const NodeName& name) const;
  const JobRecord* FindRequest(const std::string& request_id) const;
  // Slots of the node that ranks hold, by index.
  const std::map<int32_t, SlotHolder>& HeldSlots(const NodeName& node) const;

 private:
  // Higher priority first, then the order of submission.
  using QueueKey = std::pair<int64_t, int64_t>;
  static QueueKey KeyOf(const JobRecord& job);

  // The parts of this state that the updates read or write.
  State Excerpt(absl::Span<const Update> updates) const;
  void CopyJob(const JobId& id, State& to) const;
  void CopyNode(const NodeName& name, State& to) const;

  absl::Status Check(const Update& update) const;
  absl::Status CheckJobSubmitted(const journal::v1::JobSubmitted& update) const;
  absl::Status CheckGenerationStarted(const journal::v1::GenerationStarted& update) const;
  absl::Status CheckRankEnded(const journal::v1::RankEnded& update) const;
  absl::Status CheckJobEnded(const journal::v1::JobEnded& update) const;
  absl::Status CheckCheckpointCommitted(const journal::v1::CheckpointCommitted& update) const;
  absl::Status CheckNodeRegistered(const journal::v1::NodeRegistered& update) const;

  void Do(int64_t time_us, const journal::v1::JobSubmitted& update);
  void Do(int64_t time_us, const journal::v1::JobCancelRequested& update);
  void Do(int64_t time_us, const journal::v1::GenerationStarted& update);
  void Do(int64_t time_us, const journal::v1::GenerationFormed& update);
  void Do(int64_t time_us, const journal::v1::RankEnded& update);
  void Do(int64_t time_us, const journal::v1::GenerationFailed& update);
  void Do(int64_t time_us, const journal::v1::FailureAmended& update);
  void Do(int64_t time_us, const journal::v1::JobEnded& update);
  void Do(int64_t time_us, const journal::v1::CheckpointCommitted& update);
  void Do(int64_t time_us, const journal::v1::NodeRegistered& update);
  void Do(int64_t time_us, const journal::v1::NodeLost& update);
  // Ends every rank on the node.
  void EndRanksOf(const NodeName& node, const std::string& lost_reason, bool withdrawn);
  void Release(const RankRecord& rank);
  // Rebuilds what follows from the records.
  void Index(const JobRecord& job);

  int64_t next_sequence_ = 1;
  std::map<JobId, JobRecord> jobs_;
  std::map<NodeName, NodeRecord> nodes_;

  // Derived from the two above.
  std::map<QueueKey, JobId> queue_;
  std::map<std::string, JobId> requests_;
  std::map<NodeName, std::map<int32_t, SlotHolder>> held_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_STATE_H_
