// From what runs and what should run to what is to be done: a pure function.
#ifndef BERT_WORKER_AGENT_RECONCILER_H_
#define BERT_WORKER_AGENT_RECONCILER_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bert::agent {

// One rank of one generation of one job. It is started at most once, anywhere.
struct RankKey {
  std::string job_id;
  int64_t generation = 0;
  int32_t rank = 0;

  friend auto operator<=>(const RankKey&, const RankKey&) = default;
  // "job=j-1 generation=2 rank=0", for log lines.
  std::string ToString() const;
};

enum class RankPhase {
  kRunning,
  // Told to end; still there.
  kEnding,
  kExited,
};

struct LocalRank {
  RankKey key;
  int32_t slot = 0;
  RankPhase phase = RankPhase::kRunning;
  // The request that the answer belongs to said that it had exited.
  bool exit_reported = false;
};

struct WantedRank {
  RankKey key;
  int32_t slot = 0;
};

struct ReconcileActions {
  // Indices into `wanted`.
  std::vector<size_t> start = {};
  std::vector<RankKey> end = {};
  std::vector<RankKey> forget = {};

  friend bool operator==(const ReconcileActions&, const ReconcileActions&) = default;
};

// Starts what is wanted and not known, where nothing else is in its slot (it waits for a later answer otherwise); ends
// what runs and is not wanted; forgets what has exited once the coordinator has been told and no longer names it. A
// rank that has exited and is still wanted is not started again: the coordinator decides what follows. Results are in
// the order of the keys.
ReconcileActions Reconcile(const std::vector<WantedRank>& wanted, const std::vector<LocalRank>& local);

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_RECONCILER_H_
