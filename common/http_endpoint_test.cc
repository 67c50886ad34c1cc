#include "common/http_endpoint.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <atomic>

namespace bert {
namespace {

TEST(HttpEndpointTest, ServesMetricsHealthAndPages) {
  auto registry = std::make_shared<prometheus::Registry>();
  prometheus::BuildCounter().Name("bert_test_total").Help("A test.").Register(*registry).Add({}).Increment(3);
  std::atomic<bool> ready = false;
  auto endpoint = HttpEndpoint::Start({
      .listen = "127.0.0.1:0",
      .metrics = registry,
      .ready = [&] { return ready ? absl::OkStatus() : absl::UnavailableError("the journal is being read"); },
      .pages = {{"/hello",
                 [] {
                   return HttpEndpoint::Page{"text/plain", "hello"};
                 }}},
  });
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  httplib::Client client((*endpoint)->address());
  EXPECT_EQ(client.Get("/healthz")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_EQ(client.Get("/readyz")->body, "the journal is being read\n");
  ready = true;
  EXPECT_EQ(client.Get("/readyz")->status, 200);
  EXPECT_NE(client.Get("/metrics")->body.find("bert_test_total 3"), std::string::npos);
  EXPECT_EQ(client.Get("/hello")->body, "hello");
  EXPECT_EQ(client.Get("/none")->status, 404);
}

TEST(HttpEndpointTest, PortInUseIsAnErrorThatNamesIt) {
  auto first = HttpEndpoint::Start({.listen = "127.0.0.1:0"});
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = HttpEndpoint::Start({.listen = (*first)->address()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(second.status().message().find((*first)->address()), std::string::npos);
}

TEST(HostPortTest, ReadsAddresses) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:7400")->port, 7400);
  EXPECT_EQ(ParseHostPort("[::1]:0")->host, "::1");
  for (const char* bad : {"", "localhost", ":80", "a:", "a:-1", "a:65536", "a:80x"}) {
    EXPECT_EQ(ParseHostPort(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(HostPortTest, WritesWhatItReads) {
  for (const char* address : {"127.0.0.1:7400", "node-a:1", "[::1]:7400", "[fe80::2]:65535"}) {
    EXPECT_EQ(FormatHostPort(*ParseHostPort(address)), address);
  }
}

TEST(HostPortTest, KnowsLoopbackAddresses) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "0:0:0:0:0:0:0:1", "localhost"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "128.0.0.1", "127.example.com", "127.0.0.1.example.com", "node-a"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

}  // namespace
}  // namespace bert
