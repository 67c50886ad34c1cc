#include "worker/collective/store_client.h"

#include "absl/strings/str_cat.h"
#include "common/http_endpoint.h"
#include "common/status_macros.h"
#include "worker/collective/exceptions.h"

namespace bert::collective {

absl::StatusOr<c10::intrusive_ptr<c10d::TCPStore>> ConnectToStore(const std::string& address, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(address));
  c10::intrusive_ptr<c10d::TCPStore> store;
  RETURN_IF_ERROR(CatchPeerLost(absl::StrCat("peer lost: rank 0's store at ", address), [&] {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(parsed.port);
    options.waitWorkers = false;
    options.timeout = absl::ToChronoMilliseconds(timeout);
    store = c10::make_intrusive<c10d::TCPStore>(parsed.host, options);
  }));
  return store;
}

}  // namespace bert::collective
