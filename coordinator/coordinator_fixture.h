// What tests of the coordinator share: agents whose messages arrive at once, and short ways to call it.
#ifndef BERT_COORDINATOR_COORDINATOR_FIXTURE_H_
#define BERT_COORDINATOR_COORDINATOR_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator.h"
#include "coordinator/coordinator_rig.h"

namespace bert::coordinator {

inline std::string Text(const absl::Status& status) { return status.ToString(); }

// An agent whose messages arrive at once. Its ranks do what the test says.
class Agent {
 public:
  Agent(CoordinatorRig* rig, const std::string& node, int slots, const std::string& incarnation = "1")
      : rig_(rig), node_(node), incarnation_(absl::StrCat(node, incarnation)) {
    EXPECT_TRUE(rig_->coordinator->RegisterNode(RegisterRequest(node_, incarnation_, slots)).ok());
  }

  v1::HeartbeatRequest Request() {
    v1::HeartbeatRequest request;
    request.set_node(node_);
    request.set_incarnation(incarnation_);
    request.set_sequence(++sequence_);
    for (const v1::RankStatus& status : ranks) *request.add_ranks() = status;
    return request;
  }
  absl::StatusOr<v1::HeartbeatResponse> Send(const v1::HeartbeatRequest& request) {
    return rig_->coordinator->Heartbeat(request);
  }
  absl::StatusOr<v1::HeartbeatResponse> Beat() { return Send(Request()); }

  // Runs what the answer asks for and forgets what it does not.
  void Follow(const v1::HeartbeatResponse& response) {
    std::vector<v1::RankStatus> next;
    for (const v1::Assignment& assignment : response.assignments()) {
      v1::RankStatus status;
      for (const v1::RankStatus& old : ranks) {
        if (old.job_id() == assignment.job_id() && old.generation() == assignment.generation() &&
            old.rank() == assignment.rank()) {
          status = old;
        }
      }
      if (status.job_id().empty()) {
        status.set_job_id(assignment.job_id());
        status.set_generation(assignment.generation());
        status.set_rank(assignment.rank());
        status.set_slot(assignment.slot());
        status.set_state(v1::RANK_STATE_RUNNING);
      }
      next.push_back(status);
    }
    ranks = next;
  }
  void Run() {
    const auto response = Beat();
    ASSERT_TRUE(response.ok()) << response.status();
    Follow(*response);
  }
  void Exit(int32_t rank, int32_t exit_code, int32_t signal = 0) {
    for (v1::RankStatus& status : ranks) {
      if (status.rank() != rank) continue;
      status.set_state(v1::RANK_STATE_EXITED);
      status.set_exit_code(exit_code);
      status.set_signal(signal);
      if (exit_code != 0 || signal != 0) status.add_log_tail("last words");
    }
  }

  std::vector<v1::RankStatus> ranks;

 private:
  CoordinatorRig* const rig_;
  const std::string node_;
  const std::string incarnation_;
  int64_t sequence_ = 0;
};

class CoordinatorTest : public testing::Test {
 protected:
  void BeatLoader() {
    v1::LoaderHeartbeatRequest request;
    request.set_address("127.0.0.1:7410");
    EXPECT_TRUE(rig_.coordinator->LoaderHeartbeat(request).ok());
  }
  std::string Submit(int32_t min, int32_t max) {
    const auto job = rig_.coordinator->SubmitJob(SubmitRequest(min, max));
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? job->id() : "";
  }
  v1::Job Get(const std::string& id) { return *rig_.coordinator->GetJob(id); }
  v1::JobState StateOf(const std::string& id) { return Get(id).state(); }

  using JoinResult = std::shared_ptr<std::optional<absl::StatusOr<v1::JoinRendezvousResponse>>>;
  JoinResult Join(const std::string& job, int64_t generation, int32_t rank) {
    v1::JoinRendezvousRequest request;
    request.set_job_id(job);
    request.set_generation(generation);
    request.set_rank(rank);
    request.set_store_address(absl::StrCat("store-", rank));
    auto result = std::make_shared<std::optional<absl::StatusOr<v1::JoinRendezvousResponse>>>();
    rig_.coordinator->JoinRendezvous(request, [result](auto answer) { *result = std::move(answer); });
    return result;
  }
  absl::StatusOr<v1::ReportProgressResponse> Report(const std::string& job, int64_t generation, int64_t first,
                                                    int64_t last) {
    v1::ReportProgressRequest request;
    request.set_job_id(job);
    request.set_generation(generation);
    for (int64_t step = first; step <= last; ++step) request.add_steps()->set_step(step);
    return rig_.coordinator->ReportProgress(request);
  }
  absl::StatusOr<v1::CommitCheckpointResponse> Commit(const std::string& job, int64_t generation, int64_t step,
                                                      const std::string& digest = "xxh128:1") {
    v1::CommitCheckpointRequest request;
    request.set_job_id(job);
    request.set_generation(generation);
    request.set_step(step);
    request.set_directory(absl::StrCat("/checkpoints/", job, "/step-", step));
    request.set_digest(digest);
    return rig_.coordinator->CommitCheckpoint(request);
  }

  // A job of two ranks that runs on nodes a and b.
  struct Pair {
    Agent a;
    Agent b;
    std::string job;
  };
  Pair RunningPair() {
    BeatLoader();
    Pair pair{Agent(&rig_, "a", 1), Agent(&rig_, "b", 1), Submit(2, 2)};
    pair.a.Run();
    pair.b.Run();
    EXPECT_EQ(pair.a.ranks.size(), 1);
    Join(pair.job, 1, 0);
    Join(pair.job, 1, 1);
    EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_RUNNING);
    pair.a.Run();
    pair.b.Run();
    return pair;
  }
  CoordinatorRig rig_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_COORDINATOR_FIXTURE_H_
