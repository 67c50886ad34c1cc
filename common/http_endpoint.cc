#include "common/http_endpoint.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace bert {
namespace {

constexpr int kServerThreads = 4;
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not an address: give host:port, for example 127.0.0.1:7400"));
  }
  std::string host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return HostPort{std::move(host), port};
}

std::string FormatHostPort(const HostPort& address) {
  const bool ipv6 = address.host.find(':') != std::string::npos;
  return ipv6 ? absl::StrCat("[", address.host, "]:", address.port) : absl::StrCat(address.host, ":", address.port);
}

bool IsLoopback(const std::string& host) {
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
  in6_addr v6 = {};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return host == "localhost";
}

struct HttpEndpoint::Impl {
  httplib::Server server;
  Options options;
  std::thread thread;
};

HttpEndpoint::HttpEndpoint(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Start(Options options) {
  ASSIGN_OR_RETURN(const HostPort listen, ParseHostPort(options.listen));
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  const Options& held = impl->options;
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kServerThreads); };
  // httplib's default shares the port with another process instead of failing.
  server.set_socket_options([](socket_t fd) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  server.Get("/healthz",
             [](const httplib::Request&, httplib::Response& out) { out.set_content("ok\n", "text/plain"); });
  server.Get("/readyz", [&held](const httplib::Request&, httplib::Response& out) {
    const absl::Status ready = held.ready();
    out.status = ready.ok() ? 200 : 503;
    out.set_content(ready.ok() ? "ok\n" : absl::StrCat(ready.message(), "\n"), "text/plain");
  });
  if (held.metrics != nullptr) {
    server.Get("/metrics", [&held](const httplib::Request&, httplib::Response& out) {
      out.set_content(prometheus::TextSerializer().Serialize(held.metrics->Collect()), kMetricsType);
    });
  }
  for (const auto& [path, page] : held.pages) {
    server.Get(path, [&page = page](const httplib::Request&, httplib::Response& out) {
      Page content = page();
      out.set_content(std::move(content.body), content.content_type.c_str());
    });
  }
  int port = listen.port;
  if (port == 0) {
    port = server.bind_to_any_port(listen.host);
  } else if (!server.bind_to_port(listen.host, port)) {
    port = -1;
  }
  if (port < 0) {
    return absl::AlreadyExistsError(absl::StrCat("cannot serve HTTP at ", held.listen,
                                                 ": the port is in use or the address is not this machine's; end the "
                                                 "process that holds it, or choose another with --http"));
  }
  std::string address = FormatHostPort({listen.host, port});
  impl->thread = std::thread([&server] { server.listen_after_bind(); });
  // stop() before the server runs would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<HttpEndpoint>(new HttpEndpoint(std::move(impl), std::move(address)));
}

HttpEndpoint::~HttpEndpoint() {
  impl_->server.stop();
  impl_->thread.join();
}

}  // namespace bert
