// The ranks of starting generations, while they wait for each other. Nothing here is journaled: after a restart the
// trainers join again; once all have met, GenerationFormed is journaled with rank 0's address.
#ifndef BERT_COORDINATOR_RENDEZVOUS_H_
#define BERT_COORDINATOR_RENDEZVOUS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bert/v1/worker.pb.h"

namespace bert::coordinator {

using JoinCallback = std::function<void(absl::StatusOr<v1::JoinRendezvousResponse>)>;
// Answers that are ready to be given; called once the coordinator's locks are released.
using Answers = std::vector<std::function<void()>>;

// One generation's. Not thread-safe.
class Meeting {
 public:
  Meeting(int64_t generation, int32_t world_size, absl::Duration started)
      : generation_(generation), world_size_(world_size), started_(started) {}

  int64_t generation() const { return generation_; }
  // Monotonic.
  absl::Duration started() const { return started_; }
  bool Complete() const { return static_cast<int32_t>(addresses_.size()) == world_size_; }
  std::set<int32_t> Joined() const;
  // Rank 0's. Complete() holds.
  const std::string& store_address() const { return addresses_.at(0); }

  // Joining twice is harmless. `waiter_id` is new.
  void Join(int32_t rank, const std::string& address, uint64_t waiter_id, JoinCallback callback);
  // The caller has gone; it is not answered any more. The rank stays joined: its trainer asks again.
  void Abandon(uint64_t waiter_id) { waiters_.erase(waiter_id); }
  // Answers everyone who waits.
  void Finish(const absl::StatusOr<v1::JoinRendezvousResponse>& result, Answers& answers);

 private:
  int64_t generation_;
  int32_t world_size_;
  absl::Duration started_;
  std::map<int32_t, std::string> addresses_;
  std::map<uint64_t, JoinCallback> waiters_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_RENDEZVOUS_H_
