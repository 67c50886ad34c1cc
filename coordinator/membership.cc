#include "coordinator/membership.h"

#include <algorithm>

#include "coordinator/timestamps.h"

namespace bert::coordinator {

NodeSession::Arrival NodeSession::Arrive(int64_t sequence) {
  if (sequence <= 0) sequence = last_sequence_ + 1;
  const bool news = sequence > last_sequence_;
  last_sequence_ = std::max(last_sequence_, sequence);
  return {sequence, news};
}

void NodeSession::Offered(const RankKey& rank, int64_t sequence) {
  int64_t& offered = ranks_[rank].offered_sequence;
  offered = std::max(offered, sequence);
}

void NodeSession::ReportedRunning(const RankKey& rank) { ranks_[rank].reported = true; }

bool NodeSession::WasReported(const RankKey& rank) const {
  const auto it = ranks_.find(rank);
  return it != ranks_.end() && it->second.reported;
}

bool NodeSession::CannotRun(const RankKey& rank, int64_t sequence) const {
  const auto it = ranks_.find(rank);
  return it == ranks_.end() || sequence > it->second.offered_sequence;
}

void LoaderRegistry::Heartbeat(const v1::LoaderHeartbeatRequest& request, absl::Duration now, absl::Time wall) {
  Entry& entry = loaders_[request.address()];
  entry.lease_end = now + lease_;
  entry.loader.set_address(request.address());
  entry.loader.set_version(request.version());
  entry.loader.set_open_streams(request.open_streams());
  *entry.loader.mutable_last_heartbeat() = ToTimestamp(absl::ToUnixMicros(wall));
}

bool LoaderRegistry::Expire(absl::Duration now) {
  return std::erase_if(loaders_, [now](const auto& entry) { return now >= entry.second.lease_end; }) > 0;
}

std::vector<std::string> LoaderRegistry::Addresses() const {
  std::vector<std::string> addresses;
  for (const auto& [address, entry] : loaders_) addresses.push_back(address);
  return addresses;
}

std::vector<v1::Loader> LoaderRegistry::List() const {
  std::vector<v1::Loader> loaders;
  for (const auto& [address, entry] : loaders_) loaders.push_back(entry.loader);
  return loaders;
}

}  // namespace bert::coordinator
