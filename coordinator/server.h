// A whole coordinator in one object: journal, history, services, and the two ports.
#ifndef BERT_COORDINATOR_SERVER_H_
#define BERT_COORDINATOR_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/rpc/credentials.h"

namespace bert::coordinator {

// Serves from Start until destruction, which ends open calls after a short grace.
class Server {
 public:
  struct Options {
    std::string listen = "127.0.0.1:7400";
    std::string http = "127.0.0.1:7401";
    std::string state_dir;
    CredentialFlags credentials = {};
    absl::Duration heartbeat_interval = absl::Seconds(1);
    absl::Duration rendezvous_timeout = absl::Seconds(60);
    // Outlives the server.
    Clock* clock = &RealClock();
  };

  // An error names the address, file or directory, and what to do.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options);
  ~Server();

  // "host:port" of gRPC and of HTTP.
  const std::string& address() const;
  const std::string& http_address() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_SERVER_H_
