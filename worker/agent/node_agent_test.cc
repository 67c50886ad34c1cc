// The whole agent against a coordinator on a real port, with shell scripts as trainers.
#include "worker/agent/node_agent.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "worker/agent/fake_coordinator.h"
#include "worker/agent/slots.h"

namespace bert::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

using State = FakeCoordinator::State;

const RankKey kFirst{"job-a", 1, 0};

v1::Assignment Assign(const RankKey& key, int slot) {
  v1::Assignment assignment;
  assignment.set_job_id(key.job_id);
  assignment.set_generation(key.generation);
  assignment.set_rank(key.rank);
  assignment.set_world_size(1);
  assignment.set_slot(slot);
  assignment.set_device(v1::DEVICE_KIND_CPU);
  assignment.mutable_spec()->set_name("a");
  assignment.mutable_spec()->mutable_train()->set_steps(0);
  return assignment;
}

std::optional<v1::RankStatus> Find(const State& state, const RankKey& key) {
  for (const v1::RankStatus& rank : state.last_heartbeat.ranks()) {
    if (RankKey{rank.job_id(), rank.generation(), rank.rank()} == key) return rank;
  }
  return std::nullopt;
}

bool Is(const State& state, const RankKey& key, v1::RankState rank_state) {
  const auto status = Find(state, key);
  return status.has_value() && status->state() == rank_state;
}

bool HasLine(const State& state, const RankKey& key, const std::string& line) {
  const auto lines = state.logs.find(key);
  return lines != state.logs.end() &&
         std::find(lines->second.begin(), lines->second.end(), line) != lines->second.end();
}

class NodeAgentTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeDirectories(directory_).ok()); }
  void TearDown() override {
    if (thread_.joinable()) {
      EXPECT_TRUE(StopAgent().ok());
    }
    ASSERT_TRUE(RemoveTree(directory_).ok());
  }

  void StartAgent(const std::string& script, absl::Duration grace = absl::Seconds(20)) {
    const std::string trainer = WriteTrainer(script);
    NodeAgent::Options options;
    options.node = "node-1";
    options.address = "127.0.0.1";
    options.slots = CpuSlots(2, 1);
    options.version = "test";
    options.work_dir = directory_ + "/work";
    options.grace = grace;
    options.new_incarnation = [this] { return absl::StrCat("incarnation-", ++incarnations_); };
    options.trainer = {.worker = BERT_WORKER_BINARY,
                       .trainer = trainer,
                       .coordinator = coordinator_.address(),
                       .credentials = {"--insecure"},
                       .checkpoint_root = directory_ + "/checkpoints",
                       .node = "node-1",
                       .address = "127.0.0.1",
                       .threads = 1};
    agent_ = std::make_unique<NodeAgent>(coordinator_.Channel(), std::move(options), &RealClock(), &metrics_);
    thread_ = std::thread([this] { result_ = agent_->Run(); });
  }
  absl::Status StopAgent() {
    agent_->RequestStop();
    return JoinAgent();
  }
  absl::Status JoinAgent() {
    thread_.join();
    return result_;
  }
  std::string WriteTrainer(const std::string& script) {
    const std::string path = directory_ + "/trainer.sh";
    EXPECT_TRUE(WriteFile(path, "#!/bin/sh\n" + script).ok());
    EXPECT_EQ(chmod(path.c_str(), 0755), 0);
    return path;
  }
  void SetAssignments(std::vector<v1::Assignment> assignments) {
    coordinator_.Use([&](State& state) { state.assignments = assignments; });
  }
  // Waits for two further heartbeats: the second answers what the first has led to.
  void NextHeartbeats() {
    const int before = coordinator_.Snapshot().heartbeats;
    ASSERT_TRUE(coordinator_.WaitFor([&](const State& state) { return state.heartbeats >= before + 2; }));
  }

  const std::string directory_ = absl::StrCat(testing::TempDir(), "/node_agent_test.", getpid());
  FakeCoordinator coordinator_;
  AgentMetrics metrics_;
  int incarnations_ = 0;
  std::unique_ptr<NodeAgent> agent_;
  std::thread thread_;
  absl::Status result_;
};

TEST_F(NodeAgentTest, RegistersItsSlots) {
  StartAgent("exit 0\n");
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return state.heartbeats > 0; }));
  const State state = coordinator_.Snapshot();
  ASSERT_THAT(state.registrations, SizeIs(1));
  EXPECT_EQ(state.registrations[0].node(), "node-1");
  EXPECT_EQ(state.registrations[0].slots_size(), 2);
  EXPECT_EQ(state.registrations[0].version(), "test");
  EXPECT_EQ(state.last_heartbeat.incarnation(), state.registrations[0].incarnation());
  EXPECT_EQ(state.last_heartbeat.sequence(), state.heartbeats);
  EXPECT_TRUE(agent_->Ready().ok());
}

TEST_F(NodeAgentTest, RunsWhatIsAssignedOnceAndReportsItsEndUntilItIsForgotten) {
  StartAgent(absl::StrCat("echo ran >>", directory_, "/starts\necho threads=$OMP_NUM_THREADS\n", "while [ ! -e ",
                          directory_, "/gate ]; do sleep 0.02; done\n"));
  SetAssignments({Assign(kFirst, 1)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "threads=1"); }));
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_RUNNING); }));
  EXPECT_GT(Find(coordinator_.Snapshot(), kFirst)->pid(), 0);
  EXPECT_EQ(Find(coordinator_.Snapshot(), kFirst)->slot(), 1);
  EXPECT_EQ(metrics_.ranks_running.Value(), 1);

  ASSERT_TRUE(WriteFile(directory_ + "/gate", "").ok());
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_EXITED); }));
  NextHeartbeats();
  const auto status = Find(coordinator_.Snapshot(), kFirst);
  ASSERT_TRUE(status.has_value()) << "it is still assigned";
  EXPECT_EQ(status->exit_code(), 0);
  EXPECT_EQ(status->log_tail_size(), 0);
  EXPECT_THAT(status->detail(), HasSubstr("exit code 0 after"));
  EXPECT_EQ(*ReadFile(directory_ + "/starts"), "ran\n") << "nothing is restarted";

  SetAssignments({});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return !Find(state, kFirst).has_value(); }));
  EXPECT_EQ(*ReadFile(directory_ + "/work/logs/job-a/1-0.log"), "threads=1\n");
  EXPECT_FALSE(ReadFile(directory_ + "/work/assignments/job-a/1-0.json").ok());
  EXPECT_EQ(metrics_.exits_ok.Value(), 1);
  EXPECT_EQ(metrics_.ranks_running.Value(), 0);
}

TEST_F(NodeAgentTest, WritesTheAssignmentAsJson) {
  StartAgent("while [ \"$1\" != --assignment ]; do shift; done; cp \"$2\" " + directory_ + "/seen.json\necho copied\n");
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "copied"); }));
  v1::Assignment seen;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(*ReadFile(directory_ + "/seen.json"), &seen).ok());
  EXPECT_EQ(seen.SerializeAsString(), Assign(kFirst, 0).SerializeAsString());
  EXPECT_TRUE(seen.spec().train().has_steps()) << "an explicit zero stays explicit";
}

TEST_F(NodeAgentTest, AFailureBringsTheEndOfItsLog) {
  StartAgent("for i in $(seq 1 30); do echo line $i; done; printf 'the cause' >&2; exit 3\n");
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_EXITED); }));
  const auto status = Find(coordinator_.Snapshot(), kFirst);
  EXPECT_EQ(status->exit_code(), 3);
  ASSERT_EQ(status->log_tail_size(), static_cast<int>(kTailLines));
  EXPECT_EQ(status->log_tail(0), "line 12");
  EXPECT_EQ(status->log_tail(kTailLines - 1), "the cause");
  EXPECT_EQ(metrics_.exits_failed.Value(), 1);
}

TEST_F(NodeAgentTest, ReportsTheSignalThatKilledARank) {
  StartAgent("kill -KILL $$\n");
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_EXITED); }));
  EXPECT_EQ(Find(coordinator_.Snapshot(), kFirst)->signal(), SIGKILL);
}

TEST_F(NodeAgentTest, EndsWhatIsNoLongerAssigned) {
  StartAgent("trap 'echo ends; exit 0' TERM\necho runs\nwhile :; do sleep 0.02; done\n");
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "runs"); }));
  SetAssignments({});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_EXITED); }));
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "ends"); }));
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return !Find(state, kFirst).has_value(); }));
  EXPECT_EQ(metrics_.exits_ended.Value(), 1);
}

TEST_F(NodeAgentTest, KillsWhatDoesNotEndInItsGracePeriod) {
  StartAgent("trap '' TERM\necho runs\nwhile :; do sleep 0.02; done\n", absl::Milliseconds(50));
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "runs"); }));
  SetAssignments({});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_EXITED); }));
  EXPECT_EQ(Find(coordinator_.Snapshot(), kFirst)->signal(), SIGKILL);
}

TEST_F(NodeAgentTest, TheNextGenerationTakesTheSlotAfterTheFormer) {
  StartAgent("trap 'exit 0' TERM\necho runs\nwhile :; do sleep 0.02; done\n");
  const RankKey next{"job-a", 2, 0};
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "runs"); }));
  SetAssignments({Assign(next, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([&](const State& state) {
    EXPECT_FALSE(Is(state, kFirst, v1::RANK_STATE_RUNNING) && Is(state, next, v1::RANK_STATE_RUNNING));
    return HasLine(state, next, "runs");
  }));
}

TEST_F(NodeAgentTest, WhatCannotRunHereIsReportedWithTheReason) {
  StartAgent("exit 0\n");
  SetAssignments({Assign(kFirst, 7)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_EXITED); }));
  const auto status = Find(coordinator_.Snapshot(), kFirst);
  EXPECT_THAT(status->detail(), HasSubstr("no slot 7"));
  EXPECT_NE(status->exit_code(), 0);
  EXPECT_EQ(metrics_.exits_not_started.Value(), 1);
}

TEST_F(NodeAgentTest, EverythingRunsOnWhileTheCoordinatorIsAway) {
  StartAgent(absl::StrCat("echo before\nwhile [ ! -e ", directory_,
                          "/go ]; do sleep 0.02; done; echo after\n"
                          "trap 'exit 0' TERM; while :; do sleep 0.02; done\n"));
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "before"); }));
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_RUNNING); }));
  const int pid = Find(coordinator_.Snapshot(), kFirst)->pid();
  coordinator_.StopServing();
  // It prints while nobody listens, and the lines come afterwards.
  ASSERT_TRUE(WriteFile(directory_ + "/go", "").ok());
  coordinator_.Use([](State& state) { state.last_heartbeat.Clear(); });
  coordinator_.Start();
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return Is(state, kFirst, v1::RANK_STATE_RUNNING); }));
  EXPECT_EQ(Find(coordinator_.Snapshot(), kFirst)->pid(), pid);
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "after"); }));
  EXPECT_THAT(coordinator_.Snapshot().registrations, SizeIs(1));
}

TEST_F(NodeAgentTest, AStaleAgentEndsItsRanksAndRegistersAnew) {
  StartAgent("trap 'echo ends; exit 0' TERM\necho runs\nwhile :; do sleep 0.02; done\n");
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "runs"); }));
  coordinator_.Use([](State& state) {
    state.assignments.clear();
    state.heartbeat_statuses = {grpc::Status(grpc::StatusCode::NOT_FOUND, "register first")};
  });
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return state.registrations.size() == 2; }));
  EXPECT_NE(coordinator_.Snapshot().registrations[0].incarnation(),
            coordinator_.Snapshot().registrations[1].incarnation());
  NextHeartbeats();
  EXPECT_EQ(coordinator_.Snapshot().last_heartbeat.ranks_size(), 0);
  // Its last lines come under the new incarnation.
  EXPECT_TRUE(coordinator_.WaitFor([](const State& state) { return HasLine(state, kFirst, "ends"); }));
}

TEST_F(NodeAgentTest, TwoAgentsOfOneNameDoNotFightForEver) {
  coordinator_.Use([](State& state) {
    state.heartbeat_statuses.assign(3, grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "a newer incarnation"));
  });
  StartAgent("exit 0\n");
  const absl::Status status = JoinAgent();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--node"));
}

TEST_F(NodeAgentTest, TriesToRegisterUntilTheCoordinatorIsThere) {
  coordinator_.Use(
      [](State& state) { state.register_statuses.assign(3, grpc::Status(grpc::StatusCode::UNAVAILABLE, "starting")); });
  StartAgent("exit 0\n");
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) { return state.heartbeats > 0; }));
  EXPECT_THAT(coordinator_.Snapshot().registrations, SizeIs(4));
}

TEST_F(NodeAgentTest, EndsWhereTheCoordinatorRefusesItForGood) {
  coordinator_.Use(
      [](State& state) { state.register_statuses = {grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "a bad name")}; });
  StartAgent("exit 0\n");
  const absl::Status status = JoinAgent();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a bad name"));
}

TEST_F(NodeAgentTest, StoppingWithdrawsTheNodeEndsTheRanksAndFlushesTheLogs) {
  StartAgent("trap 'echo ends; exit 0' TERM\necho runs\nwhile :; do sleep 0.02; done\n");
  SetAssignments({Assign(kFirst, 0), Assign({"job-a", 1, 1}, 1)});
  ASSERT_TRUE(coordinator_.WaitFor([](const State& state) {
    return HasLine(state, kFirst, "runs") && HasLine(state, {"job-a", 1, 1}, "runs");
  }));
  EXPECT_TRUE(StopAgent().ok());
  State state = coordinator_.Snapshot();
  ASSERT_THAT(state.registrations, SizeIs(2));
  EXPECT_EQ(state.registrations[1].slots_size(), 0);
  EXPECT_TRUE(HasLine(state, kFirst, "ends") && HasLine(state, {"job-a", 1, 1}, "ends"));
  EXPECT_EQ(metrics_.exits_ended.Value(), 2);
  EXPECT_FALSE(agent_->Ready().ok());
}

TEST_F(NodeAgentTest, StopsWithoutACoordinatorToo) {
  coordinator_.StopServing();
  StartAgent("exit 0\n");
  EXPECT_TRUE(StopAgent().ok());
}

// The real binary: killed with SIGKILL, it takes its trainer with it.
TEST_F(NodeAgentTest, TheTrainerDiesWithAnAgentThatIsKilled) {
  const std::string trainer = WriteTrainer("echo runs\nexec sleep 1000\n");
  const auto agent =
      Process::Spawn({.argv = {BERT_WORKER_BINARY, "--coordinator", coordinator_.address(), "--node", "node-1",
                               "--cpu-slots", "1", "--work-dir", directory_ + "/work", "--checkpoint-root",
                               directory_ + "/checkpoints", "--trainer", trainer, "--insecure"},
                      .environment = EnvironmentWith({})});
  ASSERT_TRUE(agent.ok()) << agent.status();
  SetAssignments({Assign(kFirst, 0)});
  ASSERT_TRUE(coordinator_.WaitFor(
      [](const State& state) { return HasLine(state, kFirst, "runs") && Is(state, kFirst, v1::RANK_STATE_RUNNING); }));
  const int trainer_fd = static_cast<int>(syscall(SYS_pidfd_open, Find(coordinator_.Snapshot(), kFirst)->pid(), 0));
  ASSERT_GE(trainer_fd, 0);
  (*agent)->Signal(SIGKILL);
  pollfd poll_fd = {.fd = trainer_fd, .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&poll_fd, 1, 20'000), 1) << "the trainer outlives the agent";
  close(trainer_fd);
}

}  // namespace
}  // namespace bert::agent
