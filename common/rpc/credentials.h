// Who may talk to whom: mutual TLS, or nothing at all on the loopback interface.
#ifndef BERT_COMMON_RPC_CREDENTIALS_H_
#define BERT_COMMON_RPC_CREDENTIALS_H_

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace bert {

// The largest message of any service.
inline constexpr int kMessageBytesMax = 4 << 20;

struct CredentialFlags {
  bool insecure = false;
  std::string tls_cert;  // PEM files.
  std::string tls_key;
  std::string tls_ca;

  // --insecure, --tls-cert, --tls-key, --tls-ca, each also from BERT_INSECURE, BERT_TLS_CERT, BERT_TLS_KEY,
  // BERT_TLS_CA.
  void AddTo(CLI::App& app);
  // The flags again, for a child process.
  std::vector<std::string> Arguments() const;
};

// Both: INVALID_ARGUMENT where neither --insecure nor all three files are given; NOT_FOUND or PERMISSION_DENIED names
// an unreadable file, FAILED_PRECONDITION one that is not what it should be: no PEM, or a key of another certificate.
//
// A server refuses --insecure where `listen` is not a loopback address, and asks each client for a certificate that
// the CA signed.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(const CredentialFlags& flags,
                                                                           const std::string& listen);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(const CredentialFlags& flags);

// A channel with keepalive, bounded reconnect backoff and kMessageBytesMax. Connects when first used.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address, const CredentialFlags& flags);

}  // namespace bert

#endif  // BERT_COMMON_RPC_CREDENTIALS_H_
