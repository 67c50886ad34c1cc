#include "coordinator/rendezvous.h"

#include <utility>

namespace bert::coordinator {

std::set<int32_t> Meeting::Joined() const {
  std::set<int32_t> joined;
  for (const auto& [rank, address] : addresses_) joined.insert(rank);
  return joined;
}

void Meeting::Join(int32_t rank, const std::string& address, uint64_t waiter_id, JoinCallback callback) {
  addresses_[rank] = address;
  waiters_[waiter_id] = std::move(callback);
}

void Meeting::Finish(const absl::StatusOr<v1::JoinRendezvousResponse>& result, Answers& answers) {
  for (auto& [id, callback] : waiters_) {
    answers.push_back([callback = std::move(callback), result] { callback(result); });
  }
  waiters_.clear();
}

}  // namespace bert::coordinator
