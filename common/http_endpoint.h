// A process's HTTP side: /metrics (Prometheus text), /healthz, /readyz, and further GET pages.
#ifndef BERT_COMMON_HTTP_ENDPOINT_H_
#define BERT_COMMON_HTTP_ENDPOINT_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace prometheus {
class Collectable;
}

namespace bert {

// "host:port" with port 0 meaning any free one; IPv6 hosts in brackets. INVALID_ARGUMENT with what it should look like.
struct HostPort {
  std::string host;
  int port = 0;
};
absl::StatusOr<HostPort> ParseHostPort(const std::string& text);
// As ParseHostPort reads it.
std::string FormatHostPort(const HostPort& address);
// An address of 127.0.0.0/8, ::1, or the name localhost; no other name, whatever it resolves to.
bool IsLoopback(const std::string& host);

// Serves from Start until destruction, in threads of its own.
class HttpEndpoint {
 public:
  struct Page {
    std::string content_type;
    std::string body;
  };
  struct Options {
    std::string listen;  // "host:port"
    std::shared_ptr<prometheus::Collectable> metrics = nullptr;
    // OK: 200 from /readyz; else 503 with the message. Called from server threads.
    std::function<absl::Status()> ready = [] { return absl::OkStatus(); };
    // Further paths, each answered with 200. Called from server threads.
    std::map<std::string, std::function<Page()>> pages = {};
  };

  // ALREADY_EXISTS: the port is in use (address and remedy named). INVALID_ARGUMENT: `listen` cannot be read.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> Start(Options options);
  ~HttpEndpoint();

  // "host:port" that it serves at.
  const std::string& address() const { return address_; }

 private:
  struct Impl;
  HttpEndpoint(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace bert

#endif  // BERT_COMMON_HTTP_ENDPOINT_H_
