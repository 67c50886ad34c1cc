#include "coordinator/membership.h"

#include "coordinator/timestamps.h"

namespace bert::coordinator {

int64_t NodeSession::Arrive(int64_t sequence) {
  if (sequence <= 0) sequence = last_sequence_ + 1;
  if (sequence <= last_sequence_) return 0;
  return last_sequence_ = sequence;
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
