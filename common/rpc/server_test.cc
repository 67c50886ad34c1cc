#include "common/rpc/server.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "bert/v1/nodes.grpc.pb.h"
#include "common/rpc/status_conversion.h"

namespace bert {
namespace {

class EmptyNodeService : public v1::NodeService::Service {
  grpc::Status ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*, v1::ListNodesResponse*) override {
    return grpc::Status::OK;
  }
};

class RpcServerTest : public testing::Test {
 protected:
  RpcServerTest() { options_.credentials.insecure = true; }

  absl::Status Call(const std::string& address) {
    auto channel = MakeChannel(address, options_.credentials);
    if (!channel.ok()) return channel.status();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ListNodesResponse response;
    return FromGrpc(v1::NodeService::NewStub(*channel)->ListNodes(&context, {}, &response));
  }

  EmptyNodeService service_;
  RpcServer::Options options_{.listen = "127.0.0.1:0", .configure = [this](grpc::ServerBuilder& builder) {
                                builder.RegisterService(&service_);
                              }};
};

TEST_F(RpcServerTest, ServesUntilStopped) {
  auto server = RpcServer::Start(options_);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address();
  EXPECT_TRUE(Call(address).ok());
  (*server)->Stop(absl::ZeroDuration());
  EXPECT_EQ(Call(address).code(), absl::StatusCode::kUnavailable);
}

// By hand-made messages: Debian has no stubs for the two services that every gRPC tool looks for.
TEST_F(RpcServerTest, TellsItsHealthAndItsServices) {
  auto server = RpcServer::Start(options_);
  ASSERT_TRUE(server.ok()) << server.status();
  auto channel = MakeChannel((*server)->address(), options_.credentials);
  ASSERT_TRUE(channel.ok()) << channel.status();
  grpc::GenericStub stub(*channel);
  const auto call = [&](const std::string& method, const std::string& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    grpc::CompletionQueue queue;
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto stream = stub.PrepareCall(&context, method, &queue);
    stream->StartCall(nullptr);
    EXPECT_TRUE(next());
    const grpc::Slice slice(request);
    stream->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    EXPECT_TRUE(next());
    grpc::ByteBuffer answer;
    stream->Read(&answer, nullptr);
    EXPECT_TRUE(next());
    grpc::Slice bytes;
    EXPECT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
    context.TryCancel();
    grpc::Status status;
    stream->Finish(&status, nullptr);
    EXPECT_TRUE(next());
    queue.Shutdown();
    EXPECT_FALSE(next());
    return std::string(bytes.begin(), bytes.end());
  };
  // HealthCheckResponse{status: SERVING}.
  EXPECT_EQ(call("/grpc.health.v1.Health/Check", ""), std::string("\x08\x01"));
  // ServerReflectionRequest{list_services: "*"}.
  EXPECT_NE(
      call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*").find("bert.v1.NodeService"),
      std::string::npos);
}

TEST_F(RpcServerTest, PortInUseIsAnErrorThatNamesIt) {
  auto first = RpcServer::Start(options_);
  ASSERT_TRUE(first.ok()) << first.status();
  options_.listen = (*first)->address();
  const auto second = RpcServer::Start(options_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(second.status().message().find(options_.listen), std::string::npos);
}

TEST_F(RpcServerTest, InsecureIsRefusedBeyondLoopback) {
  options_.listen = "0.0.0.0:0";
  EXPECT_EQ(RpcServer::Start(options_).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bert
