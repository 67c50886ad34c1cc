// How every gRPC server of this project starts: credentials, health, reflection, limits, a port that is its own.
#ifndef BERT_COMMON_RPC_SERVER_H_
#define BERT_COMMON_RPC_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/credentials.h"

namespace bert {

// Serves from Start until Stop or destruction.
class RpcServer {
 public:
  struct Options {
    std::string listen;  // "host:port"; port 0 means any free one.
    CredentialFlags credentials = {};
    // Registers services and sets further options. Services outlive the server.
    std::function<void(grpc::ServerBuilder&)> configure;
  };

  // ALREADY_EXISTS: the port is in use (address and remedy named). INVALID_ARGUMENT: address or credentials.
  // FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED: a file of the credentials (credentials.h).
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const Options& options);
  ~RpcServer();

  // "host:port" that it serves at.
  const std::string& address() const { return address_; }

  // Health checks answer NOT_SERVING from here on; calls under way get `grace`, then are cancelled.
  void Stop(absl::Duration grace);

 private:
  RpcServer(std::unique_ptr<grpc::Server> server, std::string address);

  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace bert

#endif  // BERT_COMMON_RPC_SERVER_H_
