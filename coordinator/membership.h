// Who has called lately: node agents and dataloaders. Nothing here is journaled; after a restart every node gets a full
// lease, and loaders are known again with their next heartbeat.
#ifndef BERT_COORDINATOR_MEMBERSHIP_H_
#define BERT_COORDINATOR_MEMBERSHIP_H_

#include <compare>
#include <cstdint>
#include <map>
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

// What one incarnation of a node's agent has said and been told.
//
// An agent has one heartbeat under way at a time and never acts on the answer of one that it has given up. A request
// later than the last answer that asked for a rank therefore proves, by not listing it, that the agent does not run it
// and will not unless asked again.
class NodeSession {
 public:
  NodeSession(absl::Duration now, absl::Duration lease) : lease_end_(now + lease) {}

  void Renew(absl::Duration now, absl::Duration lease) { lease_end_ = now + lease; }
  bool Expired(absl::Duration now) const { return now >= lease_end_; }

  // The sequence number a request counts as; 0 stands for the next. `news` is false where a later one, or this one, has
  // been seen: its report is then not looked at.
  struct Arrival {
    int64_t sequence = 0;
    bool news = false;
  };
  Arrival Arrive(int64_t sequence);

  // The answer to request `sequence` asks for the rank.
  void Offered(const RankKey& rank, int64_t sequence);
  void ReportedRunning(const RankKey& rank);
  bool WasReported(const RankKey& rank) const;
  // The rank does not run and will not, as request `sequence` does not list it.
  bool CannotRun(const RankKey& rank, int64_t sequence) const;
  void Forget(const RankKey& rank) { ranks_.erase(rank); }

  // Unset before the first.
  absl::Time last_heartbeat = absl::InfinitePast();

 private:
  struct Known {
    int64_t offered_sequence = 0;
    bool reported = false;
  };

  absl::Duration lease_end_;
  int64_t last_sequence_ = 0;
  std::map<RankKey, Known> ranks_;
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
