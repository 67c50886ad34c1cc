#include "worker/collective/collective.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"

namespace bert::collective {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(30);

// As every process that uses a group does.
const bool kIgnoresSigpipe = signal(SIGPIPE, SIG_IGN) != SIG_ERR;

ConnectOptions Options(int rank, int world_size, const std::string& store, absl::Duration timeout = kTimeout) {
  return {.rank = rank, .world_size = world_size, .store_address = store, .timeout = timeout};
}

// Each rank in a thread of its own.
void RunRanks(int world_size, const std::function<void(Collective&)>& body, absl::Duration timeout = kTimeout) {
  ASSERT_TRUE(kIgnoresSigpipe);
  auto store = Store::Start("127.0.0.1");
  ASSERT_TRUE(store.ok()) << store.status();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      auto collective = Connect(Options(rank, world_size, (*store)->address(), timeout));
      ASSERT_TRUE(collective.ok()) << collective.status();
      body(**collective);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(StoreTest, ListensOnItsAddressOnly) {
  auto store = Store::Start("127.0.0.1");
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT((*store)->address(), HasSubstr("127.0.0.1:"));
}

// A rank that says "peer lost" is not looked at when the coordinator searches for the cause.
TEST(StoreTest, AnAddressOfAnotherMachineIsThisRanksOwnFault) {
  for (const char* address : {"192.0.2.1", "host.invalid"}) {
    const absl::Status status = Store::Start(address).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("--address"), HasSubstr(address)));
  }
}

TEST(CollectiveTest, AnAddressOfAnotherMachineIsThisRanksOwnFault) {
  auto store = Store::Start("127.0.0.1");
  ASSERT_TRUE(store.ok()) << store.status();
  for (const char* address : {"192.0.2.1", "host.invalid"}) {
    ConnectOptions options = Options(0, 2, (*store)->address());
    options.address = address;
    const absl::Status status = Connect(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("--address"), HasSubstr(address)));
  }
}

TEST(CollectiveTest, SumsBroadcastsAndGathers) {
  RunRanks(3, [](Collective& collective) {
    const int rank = collective.rank();
    at::Tensor floats = at::full({5}, rank + 1.0, at::kFloat);
    ASSERT_TRUE(collective.AllReduceSum(floats).ok());
    EXPECT_TRUE(floats.equal(at::full({5}, 6.0, at::kFloat))) << floats;
    at::Tensor doubles = at::full({2}, 0.1 * (rank + 1), at::kDouble);
    ASSERT_TRUE(collective.AllReduceSum(doubles).ok());
    EXPECT_NEAR(doubles[0].item<double>(), 0.6, 1e-12);
    at::Tensor integers = at::full({1}, int64_t{1} << (40 + rank), at::kLong);
    ASSERT_TRUE(collective.AllReduceSum(integers).ok());
    EXPECT_EQ(integers[0].item<int64_t>(), int64_t{7} << 40);

    at::Tensor sent = at::full({4}, rank, at::kFloat);
    ASSERT_TRUE(collective.Broadcast(sent, 1).ok());
    EXPECT_TRUE(sent.equal(at::full({4}, 1.0, at::kFloat))) << sent;

    at::Tensor gathered = at::zeros({6}, at::kFloat);
    ASSERT_TRUE(collective.AllGather(at::full({2}, rank, at::kFloat), gathered).ok());
    EXPECT_TRUE(gathered.equal(at::tensor({0.f, 0.f, 1.f, 1.f, 2.f, 2.f}))) << gathered;
    EXPECT_TRUE(collective.Barrier().ok());
  });
}

TEST(CollectiveTest, OneRankNeedsNoStore) {
  auto collective = Connect({});
  ASSERT_TRUE(collective.ok());
  at::Tensor tensor = at::arange(3, at::kFloat);
  EXPECT_TRUE((*collective)->AllReduceSum(tensor).ok());
  at::Tensor gathered = at::zeros({3}, at::kFloat);
  EXPECT_TRUE((*collective)->AllGather(tensor, gathered).ok());
  EXPECT_TRUE(gathered.equal(tensor));
}

TEST(CollectiveTest, RefusesARankOutsideTheGroup) {
  EXPECT_EQ(Connect({.rank = 2, .world_size = 2}).status().code(), absl::StatusCode::kInvalidArgument);
}

// Aborting one rank ends the waits of all, its own among them.
TEST(CollectiveTest, AbortEndsEveryWait) {
  const absl::Time start = absl::Now();
  RunRanks(3, [](Collective& collective) {
    ASSERT_TRUE(collective.Barrier().ok());
    at::Tensor tensor = at::zeros({1000}, at::kFloat);
    if (collective.rank() == 2) {
      collective.Abort();
      EXPECT_EQ(collective.AllReduceSum(tensor).code(), absl::StatusCode::kCancelled);
      return;
    }
    const absl::Status status = collective.AllReduceSum(tensor);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(status.message(), HasSubstr("peer lost"));
    EXPECT_EQ(collective.Barrier(), status);
  });
  EXPECT_LT(absl::Now() - start, kTimeout / 2);
}

TEST(CollectiveTest, AbortFromAnotherThreadEndsACallUnderWay) {
  constexpr absl::Duration kGroupTimeout = absl::Seconds(4);
  RunRanks(
      2,
      [](Collective& collective) {
        ASSERT_TRUE(collective.Barrier().ok());
        // Rank 1 stays connected and never comes to rank 0's call.
        if (collective.rank() == 1) return;
        const absl::Time start = absl::Now();
        std::thread aborter([&] { collective.Abort(); });
        const at::Tensor tensor = at::zeros({1000}, at::kFloat);
        EXPECT_EQ(collective.AllGather(tensor, at::zeros({2000}, at::kFloat)).code(), absl::StatusCode::kCancelled);
        EXPECT_LT(absl::Now() - start, kGroupTimeout / 2);
        aborter.join();
      },
      kGroupTimeout);
}

// Processes, because only a process can be killed.
TEST(CollectiveTest, AKilledPeerIsAnErrorSoon) {
  int address_pipe[2];
  ASSERT_EQ(pipe(address_pipe), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    char address[128] = {};
    if (read(address_pipe[0], address, sizeof address - 1) <= 0) _exit(2);
    auto collective = Connect(Options(1, 2, address));
    if (!collective.ok() || !(*collective)->Barrier().ok()) _exit(3);
    raise(SIGKILL);
  }
  auto store = Store::Start("127.0.0.1");
  ASSERT_TRUE(store.ok()) << store.status();
  const std::string& address = (*store)->address();
  ASSERT_EQ(write(address_pipe[1], address.data(), address.size()), static_cast<ssize_t>(address.size()));
  auto collective = Connect(Options(0, 2, address));
  ASSERT_TRUE(collective.ok()) << collective.status();
  ASSERT_TRUE((*collective)->Barrier().ok());
  const absl::Time start = absl::Now();
  const absl::Status status = (*collective)->AllReduceSum(at::zeros({100000}, at::kFloat));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.message(), HasSubstr("peer lost"));
  EXPECT_LT(absl::Now() - start, kTimeout / 2);
  int wait_status = 0;
  ASSERT_EQ(waitpid(child, &wait_status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(wait_status)) << wait_status;
}

TEST(CollectiveTest, APeerThatNeverComesIsAnErrorAtTheTimeout) {
  auto store = Store::Start("127.0.0.1");
  ASSERT_TRUE(store.ok()) << store.status();
  ConnectOptions options = Options(0, 2, (*store)->address());
  options.timeout = absl::Seconds(1);
  const absl::Time start = absl::Now();
  EXPECT_EQ(Connect(options).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(absl::Now() - start, kTimeout / 2);
}

}  // namespace
}  // namespace bert::collective
