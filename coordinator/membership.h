// Who has called lately: node agents and dataloaders. Nothing here is journaled; after a restart every node gets a full
// lease, and loaders are known again with their next heartbeat.
#ifndef BERT_COORDINATOR_MEMBERSHIP_H_
#define BERT_COORDINATOR_MEMBERSHIP_H_

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "bert/v1/nodes.pb.h"
#include "bert/v1/worker.pb.h"
#include "common/ids.h"

namespace bert::coordinator {

// One rank of one generation of one job.
struct RankKey {
  JobId job;
  int64_t generation = 0;
  int32_t rank = 0;

  friend auto operator<=>(const RankKey&, const RankKey&) = default;
};

// What one incarnation of a node's agent has said.
//
// An agent has one heartbeat under way at a time and never acts on the answer of one that it has given up. A request
// later than all before it was therefore written after every answer so far was followed or given up: a rank that it
// does not list does not run, and will not unless a later answer asks for it.
class NodeSession {
 public:
  NodeSession(absl::Duration now, absl::Duration lease) : lease_end_(now + lease) {}

  void Renew(absl::Duration now, absl::Duration lease) { lease_end_ = now + lease; }
  bool Expired(absl::Duration now) const { return now >= lease_end_; }

  // A request arrives (its sequence number may be 0: the next). 0 where it is no later than one before it.
  int64_t Arrive(int64_t sequence);
  // What Arrive returned still belongs to the latest request: what that does not list is not there.
  bool IsNews(int64_t arrived) const { return arrived > 0 && arrived == last_sequence_; }

  void ReportedRunning(const RankKey& rank) { reported_.insert(rank); }
  bool WasReported(const RankKey& rank) const { return reported_.contains(rank); }
  void Forget(const RankKey& rank) { reported_.erase(rank); }

  // Unset before the first.
  absl::Time last_heartbeat = absl::InfinitePast();

 private:
  absl::Duration lease_end_;
  int64_t last_sequence_ = 0;
  // Running, and not known to have ended.
  std::set<RankKey> reported_;
};

// Dataloaders that heartbeat. Not thread-safe.
class LoaderRegistry {
 public:
  explicit LoaderRegistry(absl::Duration lease) : lease_(lease) {}

  void Heartbeat(const v1::LoaderHeartbeatRequest& request, absl::Duration now, absl::Time wall);
  // Forgets those whose lease has run out. True where one was.
  bool Expire(absl::Duration now);
  // By address.
  std::vector<std::string> Addresses() const;
  std::vector<v1::Loader> List() const;
  size_t count() const { return loaders_.size(); }

 private:
  struct Entry {
    absl::Duration lease_end;
    v1::Loader loader;
  };

  const absl::Duration lease_;
  std::map<std::string, Entry> loaders_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_MEMBERSHIP_H_
