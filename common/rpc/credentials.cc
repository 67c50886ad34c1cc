#include "common/rpc/credentials.h"

#include <grpcpp/create_channel.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/http_endpoint.h"
#include "common/status_macros.h"

namespace bert {
namespace {

constexpr int kKeepaliveTimeMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// Of one attempt: names may have to be resolved and keys exchanged on a busy machine.
constexpr int kConnectTimeoutMs = 5'000;
constexpr int kReconnectMinMs = 100;
constexpr int kReconnectMaxMs = 2'000;

struct Pem {
  std::string cert;
  std::string key;
  std::string ca;
};

absl::Status CheckChosen(const CredentialFlags& flags) {
  const bool all = !flags.tls_cert.empty() && !flags.tls_key.empty() && !flags.tls_ca.empty();
  const bool any = !flags.tls_cert.empty() || !flags.tls_key.empty() || !flags.tls_ca.empty();
  if (flags.insecure && any) return absl::InvalidArgumentError("--insecure and --tls-* exclude each other; give one");
  if (flags.insecure || all) return absl::OkStatus();
  if (any) return absl::InvalidArgumentError("--tls-cert, --tls-key and --tls-ca go together; give all three");
  return absl::InvalidArgumentError(
      "no credentials: give --tls-cert, --tls-key and --tls-ca, or --insecure on the loopback interface");
}

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Input = std::unique_ptr<BIO, decltype(&BIO_free)>;

Input Open(const std::string& text) { return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free}; }

// An empty passphrase, as gRPC does: without one OpenSSL would ask the terminal.
Certificate FirstCertificate(const std::string& text) {
  return {PEM_read_bio_X509(Open(text).get(), nullptr, nullptr, const_cast<char*>("")), X509_free};
}
PrivateKey FirstKey(const std::string& text) {
  return {PEM_read_bio_PrivateKey(Open(text).get(), nullptr, nullptr, const_cast<char*>("")), EVP_PKEY_free};
}

// gRPC says of all of these only that there is no connection, or no port.
absl::Status CheckPem(const CredentialFlags& flags, const Pem& pem) {
  const Certificate certificate = FirstCertificate(pem.cert);
  const PrivateKey key = FirstKey(pem.key);
  const bool ca_read = FirstCertificate(pem.ca) != nullptr;
  const bool fit =
      certificate != nullptr && key != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("--tls-cert ", flags.tls_cert, " holds no certificate in PEM"));
  }
  if (key == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("--tls-key ", flags.tls_key, " holds no private key in PEM, or one with a passphrase"));
  }
  if (!ca_read) {
    return absl::FailedPreconditionError(absl::StrCat("--tls-ca ", flags.tls_ca, " holds no certificate in PEM"));
  }
  if (!fit) {
    return absl::FailedPreconditionError(
        absl::StrCat("--tls-key ", flags.tls_key, " is not the key of the certificate in --tls-cert ", flags.tls_cert));
  }
  return absl::OkStatus();
}

absl::StatusOr<Pem> ReadPem(const CredentialFlags& flags) {
  Pem pem;
  ASSIGN_OR_RETURN(pem.cert, ReadFile(flags.tls_cert));
  ASSIGN_OR_RETURN(pem.key, ReadFile(flags.tls_key));
  ASSIGN_OR_RETURN(pem.ca, ReadFile(flags.tls_ca));
  RETURN_IF_ERROR(CheckPem(flags, pem));
  return pem;
}

}  // namespace

void CredentialFlags::AddTo(CLI::App& app) {
  app.add_flag("--insecure", insecure, "No TLS; only on the loopback interface")->envname("BERT_INSECURE");
  app.add_option("--tls-cert", tls_cert, "This process's certificate (PEM)")->envname("BERT_TLS_CERT");
  app.add_option("--tls-key", tls_key, "Its private key (PEM)")->envname("BERT_TLS_KEY");
  app.add_option("--tls-ca", tls_ca, "The CA that signed the peers' certificates (PEM)")->envname("BERT_TLS_CA");
}

std::vector<std::string> CredentialFlags::Arguments() const {
  if (insecure) return {"--insecure"};
  return {"--tls-cert", tls_cert, "--tls-key", tls_key, "--tls-ca", tls_ca};
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(const CredentialFlags& flags,
                                                                           const std::string& listen) {
  RETURN_IF_ERROR(CheckChosen(flags));
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(listen));
  if (flags.insecure) {
    if (!IsLoopback(address.host)) {
      return absl::InvalidArgumentError(absl::StrCat("--insecure is refused at ", listen,
                                                     ": it is not a loopback address; give --tls-cert, --tls-key and "
                                                     "--tls-ca, or listen on 127.0.0.1"));
    }
    return grpc::InsecureServerCredentials();
  }
  ASSIGN_OR_RETURN(const Pem pem, ReadPem(flags));
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = pem.ca;
  options.pem_key_cert_pairs.push_back({pem.key, pem.cert});
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(const CredentialFlags& flags) {
  RETURN_IF_ERROR(CheckChosen(flags));
  if (flags.insecure) return grpc::InsecureChannelCredentials();
  ASSIGN_OR_RETURN(const Pem pem, ReadPem(flags));
  return grpc::SslCredentials({.pem_root_certs = pem.ca, .pem_private_key = pem.key, .pem_cert_chain = pem.cert});
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address, const CredentialFlags& flags) {
  ASSIGN_OR_RETURN(auto credentials, ChannelCredentials(flags));
  ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(address));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  // Peers on a cluster's own network are not reached through a proxy.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace bert
