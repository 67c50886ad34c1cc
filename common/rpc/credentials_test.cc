#include "common/rpc/credentials.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "bert/v1/nodes.grpc.pb.h"
#include "common/files.h"
#include "common/rpc/status_conversion.h"

namespace bert {
namespace {

struct KeyPair {
  std::shared_ptr<EVP_PKEY> key;
  std::shared_ptr<X509> certificate;
};

// A certificate for 127.0.0.1 (a name would need a resolver, and c-ares leaks in it), signed by `issuer`, or by itself
// as a CA where there is none.
KeyPair MakeCertificate(const KeyPair* issuer) {
  KeyPair pair{{EVP_EC_gen("P-256"), EVP_PKEY_free}, {X509_new(), X509_free}};
  X509* certificate = pair.certificate.get();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), issuer == nullptr ? 1 : 2);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, pair.key.get());
  X509_NAME* name = X509_get_subject_name(certificate);
  const unsigned char* common_name = reinterpret_cast<const unsigned char*>(issuer == nullptr ? "ca" : "loopback");
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common_name, -1, -1, 0);
  X509_set_issuer_name(certificate, issuer == nullptr ? name : X509_get_subject_name(issuer->certificate.get()));
  const int kind = issuer == nullptr ? NID_basic_constraints : NID_subject_alt_name;
  X509_EXTENSION* extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, kind, issuer == nullptr ? "critical,CA:TRUE" : "IP:127.0.0.1");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(certificate, issuer == nullptr ? pair.key.get() : issuer->key.get(), EVP_sha256());
  return pair;
}

std::string Pem(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, size);
  BIO_free(bio);
  return text;
}

std::string CertificatePem(const KeyPair& pair) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, pair.certificate.get());
  return Pem(bio);
}

std::string KeyPem(const KeyPair& pair) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, pair.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return Pem(bio);
}

class EmptyNodeService : public v1::NodeService::Service {
  grpc::Status ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*, v1::ListNodesResponse*) override {
    return grpc::Status::OK;
  }
};

class CredentialsTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/credentials_test-", getpid());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }

  // Flags whose certificate is signed by `ca`.
  CredentialFlags Issue(const std::string& name, const KeyPair& ca) {
    const KeyPair pair = MakeCertificate(&ca);
    CredentialFlags flags;
    flags.tls_cert = Write(name + ".crt", CertificatePem(pair));
    flags.tls_key = Write(name + ".key", KeyPem(pair));
    flags.tls_ca = Write(name + ".ca", CertificatePem(ca));
    return flags;
  }

  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = directory_ + "/" + name;
    EXPECT_TRUE(WriteFile(path, content).ok());
    return path;
  }

  absl::Status Call(int port, const CredentialFlags& flags) {
    auto channel = MakeChannel(absl::StrCat("127.0.0.1:", port), flags);
    if (!channel.ok()) return channel.status();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ListNodesResponse response;
    return FromGrpc(v1::NodeService::NewStub(*channel)->ListNodes(&context, {}, &response));
  }

  std::string directory_;
};

TEST_F(CredentialsTest, OnlyPeersOfTheSameCaAreServed) {
  const KeyPair ca = MakeCertificate(nullptr);
  const KeyPair stranger_ca = MakeCertificate(nullptr);
  auto credentials = ServerCredentials(Issue("server", ca), "0.0.0.0:0");
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  EmptyNodeService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", *credentials, &port);
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(Call(port, Issue("client", ca)).ok());
  EXPECT_EQ(Call(port, Issue("stranger", stranger_ca)).code(), absl::StatusCode::kUnavailable);
  CredentialFlags insecure;
  insecure.insecure = true;
  EXPECT_EQ(Call(port, insecure).code(), absl::StatusCode::kUnavailable);
}

TEST_F(CredentialsTest, InsecureServersStayOnLoopback) {
  CredentialFlags flags;
  flags.insecure = true;
  EXPECT_TRUE(ServerCredentials(flags, "127.0.0.1:0").ok());
  const auto refused = ServerCredentials(flags, "0.0.0.0:7400");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("0.0.0.0:7400"), std::string::npos);
}

TEST_F(CredentialsTest, MistakesInFlagsAreNamed) {
  CredentialFlags flags;
  EXPECT_NE(ChannelCredentials(flags).status().message().find("no credentials"), std::string::npos);
  flags.tls_cert = "/no/such.crt";
  EXPECT_NE(ChannelCredentials(flags).status().message().find("give all three"), std::string::npos);
  flags.tls_key = flags.tls_ca = "/no/such.crt";
  EXPECT_EQ(ChannelCredentials(flags).status().code(), absl::StatusCode::kNotFound);
  flags.insecure = true;
  EXPECT_NE(ChannelCredentials(flags).status().message().find("exclude each other"), std::string::npos);
}

TEST_F(CredentialsTest, AFileThatIsNotWhatItShouldBeIsNamed) {
  const KeyPair ca = MakeCertificate(nullptr);
  const CredentialFlags good = Issue("good", ca);
  const CredentialFlags other = Issue("other", ca);
  EXPECT_TRUE(ServerCredentials(good, "0.0.0.0:0").ok());
  const std::string garbage = Write("garbage.pem", "-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----\n");
  CredentialFlags no_certificate = good;
  no_certificate.tls_cert = garbage;
  CredentialFlags no_key = good;
  no_key.tls_key = garbage;
  CredentialFlags no_ca = good;
  no_ca.tls_ca = garbage;
  for (const CredentialFlags& flags : {no_certificate, no_key, no_ca}) {
    for (const absl::Status& status :
         {ServerCredentials(flags, "0.0.0.0:0").status(), ChannelCredentials(flags).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_NE(status.message().find(garbage), std::string::npos) << status;
    }
  }
  CredentialFlags mixed = good;
  mixed.tls_key = other.tls_key;
  const absl::Status status = ServerCredentials(mixed, "0.0.0.0:0").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find(other.tls_key), std::string::npos) << status;
  EXPECT_NE(status.message().find(good.tls_cert), std::string::npos) << status;
}

TEST(StatusConversionTest, KeepsCodeAndMessage) {
  const absl::Status status = absl::DataLossError("shard 3");
  EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  EXPECT_TRUE(FromGrpc(ToGrpc(absl::OkStatus())).ok());
}

}  // namespace
}  // namespace bert
