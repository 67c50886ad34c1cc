#include "worker/collective/store.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/collective/exceptions.h"

namespace bert::collective {
namespace {

struct Listener {
  int fd = -1;
  std::string host;
  uint16_t port = 0;
};

// TCPStore on its own would listen on every interface.
absl::StatusOr<Listener> Listen(const std::string& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.c_str(), "0", &hints, &found); error != 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot resolve --address ", address, ": ", gai_strerror(error)));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  const auto failed = [&](const char* what) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot ", what, " --address ", address, ": ", std::strerror(errno)));
  };
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed("open a socket for");
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0) return failed("bind to");
  if (listen(fd, SOMAXCONN) != 0) return failed("listen on");
  sockaddr_storage bound = {};
  socklen_t length = sizeof bound;
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&bound), length, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return failed("read the port at");
  }
  int port_number = 0;
  if (!absl::SimpleAtoi(port, &port_number)) return failed("read the port at");
  std::move(close_fd).Cancel();
  return Listener{fd, host, static_cast<uint16_t>(port_number)};
}

}  // namespace

struct Store::Impl {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

absl::StatusOr<std::unique_ptr<Store>> Store::Start(const std::string& address) {
  ASSIGN_OR_RETURN(const Listener listener, Listen(address));
  auto impl = std::make_unique<Impl>();
  RETURN_IF_ERROR(CatchExceptions(absl::StatusCode::kInternal, "cannot start the store", [&] {
    c10d::TCPStoreOptions options;
    options.isServer = true;
    options.port = listener.port;
    options.masterListenFd = listener.fd;
    options.waitWorkers = false;
    impl->store = c10::make_intrusive<c10d::TCPStore>(listener.host, options);
  }));
  const bool bracket = listener.host.find(':') != std::string::npos;
  std::string text =
      bracket ? absl::StrCat("[", listener.host, "]:", listener.port) : absl::StrCat(listener.host, ":", listener.port);
  return std::unique_ptr<Store>(new Store(std::move(impl), std::move(text)));
}

Store::Store(std::unique_ptr<Impl> impl, std::string address) : impl_(std::move(impl)), address_(std::move(address)) {}

Store::~Store() = default;

}  // namespace bert::collective
