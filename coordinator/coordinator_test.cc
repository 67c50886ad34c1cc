#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator_rig.h"

namespace bert::coordinator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Text(const absl::Status& status) { return status.ToString(); }

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

TEST_F(CoordinatorTest, ARequestMakesOneJob) {
  const auto first = rig_.coordinator->SubmitJob(SubmitRequest(1, 1, "r1"));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->id(), "job-t1");
  EXPECT_EQ(first->user(), "anonymous");
  EXPECT_EQ(first->reason(), "needs 1 slot, 0 free; no node registered");
  EXPECT_EQ(rig_.coordinator->SubmitJob(SubmitRequest(1, 1, "r1"))->id(), first->id());
  rig_.Restart();
  EXPECT_EQ(rig_.coordinator->SubmitJob(SubmitRequest(1, 1, "r1"))->id(), first->id());
  EXPECT_TRUE(absl::IsAlreadyExists(rig_.coordinator->SubmitJob(SubmitRequest(1, 2, "r1")).status()));
  EXPECT_NE(rig_.coordinator->SubmitJob(SubmitRequest(1, 1, "r2"))->id(), first->id());
}

TEST_F(CoordinatorTest, AnInvalidSpecIsRefusedByField) {
  v1::SubmitJobRequest request = SubmitRequest(3, 2);
  const absl::Status status = rig_.coordinator->SubmitJob(request).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(Text(status), HasSubstr("workers.min"));
  EXPECT_EQ(rig_.disk.appends, 0);
}

TEST_F(CoordinatorTest, ADryRunChangesNothing) {
  v1::SubmitJobRequest request = SubmitRequest(2, 2);
  request.set_dry_run(true);
  const auto job = rig_.coordinator->SubmitJob(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->id(), "");
  EXPECT_THAT(job->reason(), HasSubstr("no node registered"));
  EXPECT_EQ(rig_.disk.appends, 0);
  EXPECT_EQ(rig_.coordinator->ListJobs({})->jobs_size(), 0);
}

TEST_F(CoordinatorTest, AJobRunsToItsEnd) {
  Pair pair = RunningPair();
  const auto answer = pair.a.Beat();
  ASSERT_EQ(answer->assignments_size(), 1);
  const v1::Assignment& assignment = answer->assignments(0);
  EXPECT_EQ(assignment.world_size(), 2);
  EXPECT_EQ(assignment.device(), v1::DEVICE_KIND_CPU);
  EXPECT_EQ(assignment.spec().train().steps(), 2000);
  EXPECT_THAT(assignment.loaders(), ElementsAre("127.0.0.1:7410"));
  EXPECT_EQ(Report(pair.job, 1, 1, 5)->action(), v1::TRAINER_ACTION_CONTINUE);
  EXPECT_EQ(Get(pair.job).last_step().step(), 5);
  ASSERT_TRUE(Commit(pair.job, 1, 5).ok());
  EXPECT_EQ(Get(pair.job).checkpoint_step(), 5);
  pair.a.Exit(0, 0);
  pair.a.Run();
  EXPECT_THAT(pair.a.ranks, IsEmpty());
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_RUNNING);
  pair.b.Exit(1, 0);
  pair.b.Run();
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Get(pair.job).last_step().step(), 5);
  EXPECT_THAT(rig_.history.events[JobId(pair.job)],
              ElementsAre("SUBMITTED", "GENERATION_STARTED", "GENERATION_FORMED", "CHECKPOINT_COMMITTED", "RANK_ENDED",
                          "RANK_ENDED", "SUCCEEDED"));
  rig_.Restart();
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Get(pair.job).last_step().step(), 5);
}

TEST_F(CoordinatorTest, AHeartbeatFromBeforeTheAssignmentEndsNothing) {
  BeatLoader();
  Agent a(&rig_, "a", 1);
  const v1::HeartbeatRequest early = a.Request();
  const std::string job = Submit(1, 1);
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_STARTING);
  const v1::HeartbeatRequest next = a.Request();
  EXPECT_EQ(a.Send(next)->assignments_size(), 1);
  // Late and repeated: neither lists the rank, and neither says anything new.
  EXPECT_EQ(a.Send(early)->assignments_size(), 1);
  EXPECT_EQ(a.Send(next)->assignments_size(), 1);
  // The answer was lost: asked for again.
  EXPECT_EQ(a.Beat()->assignments_size(), 1);
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_STARTING);
}

TEST_F(CoordinatorTest, ARankThatWasReportedAndIsMissingIsGone) {
  Pair pair = RunningPair();
  const v1::HeartbeatRequest reported = pair.a.Request();
  pair.a.ranks.clear();
  const v1::HeartbeatRequest missing = pair.a.Request();
  ASSERT_TRUE(pair.a.Send(missing).ok());
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_PENDING);
  EXPECT_THAT(Get(pair.job).root_cause().cause(), HasSubstr("rank 0 on node a is gone"));
  ASSERT_TRUE(pair.a.Send(reported).ok());
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_PENDING);
}

TEST_F(CoordinatorTest, ADroppedRankThatNeverRanEndsOnceItCannotAppear) {
  BeatLoader();
  Agent a(&rig_, "a", 1);
  const std::string job = Submit(1, 1);
  const v1::HeartbeatRequest first = a.Request();
  const v1::HeartbeatRequest second = a.Request();
  ASSERT_EQ(a.Send(second)->assignments_size(), 1);
  v1::CancelJobRequest cancel;
  cancel.set_job_id(job);
  ASSERT_TRUE(rig_.coordinator->CancelJob(cancel, "").ok());
  // The answer to the second may still be under way: these two prove nothing.
  EXPECT_EQ(a.Send(first)->assignments_size(), 0);
  EXPECT_EQ(a.Send(second)->assignments_size(), 0);
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_CANCELLING);
  // The third was written once the second was answered or given up.
  EXPECT_EQ(a.Beat()->assignments_size(), 0);
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_CANCELLED);
}

TEST_F(CoordinatorTest, ARankThatEndsIsWaitedForAndTheJobRestarts) {
  Pair pair = RunningPair();
  ASSERT_TRUE(Commit(pair.job, 1, 10).ok());
  pair.b.Exit(1, 0, 9);
  pair.b.Run();
  const v1::Job failed = Get(pair.job);
  EXPECT_EQ(failed.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(failed.root_cause().cause(), "rank 1 on node b was killed by signal 9 (SIGKILL)");
  EXPECT_THAT(failed.root_cause().log_tail(), ElementsAre("last words"));
  EXPECT_THAT(failed.reason(), HasSubstr("waits until rank 0 of generation 1 has ended"));
  rig_.Pass(absl::Seconds(2));
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_PENDING);
  EXPECT_EQ(pair.a.Beat()->assignments_size(), 0);
  pair.a.Exit(0, 143);
  BeatLoader();
  pair.a.Run();
  ASSERT_EQ(StateOf(pair.job), v1::JOB_STATE_STARTING);
  EXPECT_EQ(Get(pair.job).generation(), 2);
  const auto answer = pair.a.Beat();
  ASSERT_EQ(answer->assignments_size(), 1);
  EXPECT_EQ(answer->assignments(0).generation(), 2);
  EXPECT_EQ(answer->assignments(0).resume_points(0).step(), 10);
  EXPECT_TRUE(absl::IsFailedPrecondition(Report(pair.job, 1, 11, 11).status()));
  EXPECT_THAT(Text(Commit(pair.job, 1, 20).status()), AllOf(HasSubstr("generation 1"), HasSubstr("generation 2")));
}

TEST_F(CoordinatorTest, TheKilledRankIsTheCauseAlsoWhenItsPeerIsHeardFirst) {
  Pair pair = RunningPair();
  pair.a.Exit(0, 3);
  pair.a.Run();
  EXPECT_THAT(Get(pair.job).root_cause().cause(), HasSubstr("lost a peer"));
  pair.b.Exit(1, 0, 9);
  pair.b.Run();
  EXPECT_THAT(Get(pair.job).root_cause().cause(), HasSubstr("SIGKILL"));
}

TEST_F(CoordinatorTest, WhatTheAgentEndsItselfIsNoCause) {
  Pair pair = RunningPair();
  pair.a.Exit(0, 3);
  pair.a.Run();
  EXPECT_EQ(pair.b.Beat()->assignments_size(), 0);
  pair.b.Exit(1, 0, 9);
  pair.b.Run();
  EXPECT_THAT(Get(pair.job).root_cause().cause(), HasSubstr("lost a peer"));
}

TEST_F(CoordinatorTest, OneHeartbeatWithBothNamesTheKilledRank) {
  BeatLoader();
  Agent a(&rig_, "a", 2);
  const std::string job = Submit(2, 2);
  a.Run();
  Join(job, 1, 0);
  Join(job, 1, 1);
  a.Exit(0, 3);
  a.Exit(1, 0, 9);
  a.Run();
  EXPECT_THAT(Get(job).root_cause().cause(), HasSubstr("rank 1 on node a was killed"));
}

TEST_F(CoordinatorTest, ALeaseRunsOut) {
  Pair pair = RunningPair();
  for (int i = 0; i < 4; ++i) {
    rig_.Pass(absl::Seconds(1));
    ASSERT_TRUE(pair.a.Beat().ok());
  }
  EXPECT_THAT(Get(pair.job).root_cause().cause(), HasSubstr("rank 1 on node b is gone: no heartbeat for 3s"));
  const absl::Status late = pair.b.Beat().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(late));
  EXPECT_THAT(Text(late), HasSubstr("lease"));
  EXPECT_EQ(rig_.coordinator->ListNodes().nodes(1).state(), v1::NODE_STATE_LOST);
  Agent again(&rig_, "b", 1, "2");
  EXPECT_EQ(rig_.coordinator->ListNodes().nodes(1).state(), v1::NODE_STATE_READY);
  EXPECT_THAT(Text(pair.b.Beat().status()), AllOf(HasSubstr("b1"), HasSubstr("b2")));
  EXPECT_TRUE(absl::IsFailedPrecondition(rig_.coordinator->RegisterNode(RegisterRequest("b", "b1", 1)).status()));
}

TEST_F(CoordinatorTest, ACoordinatorThatStoodStillBlamesNobody) {
  Pair pair = RunningPair();
  rig_.clock.Advance(absl::Minutes(10));
  rig_.Pass(absl::Seconds(2));
  EXPECT_TRUE(pair.a.Beat().ok());
  EXPECT_TRUE(pair.b.Beat().ok());
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_RUNNING);
}

TEST_F(CoordinatorTest, JobsRunOnOverARestart) {
  Pair pair = RunningPair();
  Report(pair.job, 1, 1, 7).IgnoreError();
  rig_.Restart();
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Get(pair.job).last_step().step(), 7);
  // A full lease for everyone.
  rig_.Pass(absl::Milliseconds(2'900));
  pair.a.Run();
  pair.b.Run();
  EXPECT_EQ(pair.a.ranks.size(), 1);
  rig_.Pass(absl::Seconds(2));
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_RUNNING);
  // Steps that were acknowledged before are not taken twice.
  ASSERT_TRUE(Report(pair.job, 1, 6, 8).ok());
  EXPECT_EQ(rig_.history.steps[JobId(pair.job)].size(), 8);
  // One whose answer was lost asks again.
  EXPECT_EQ((*Join(pair.job, 1, 1)->value()).store_address(), "store-0");
}

TEST_F(CoordinatorTest, RanksMeetAgainAfterARestart) {
  BeatLoader();
  Agent a(&rig_, "a", 2);
  const std::string job = Submit(2, 2);
  a.Run();
  const auto before = Join(job, 1, 0);
  EXPECT_FALSE(before->has_value());
  rig_.Restart();
  EXPECT_FALSE(Join(job, 1, 1)->has_value());
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_STARTING);
  const auto again = Join(job, 1, 0);
  ASSERT_TRUE(again->has_value());
  EXPECT_EQ((**again)->world_size(), 2);
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_RUNNING);
}

TEST_F(CoordinatorTest, ARendezvousEndsInTime) {
  BeatLoader();
  Agent a(&rig_, "a", 2);
  const std::string job = Submit(2, 2);
  a.Run();
  const auto joined = Join(job, 1, 0);
  for (int i = 0; i < 61; ++i) {
    rig_.Pass(absl::Seconds(1));
    a.Run();
  }
  ASSERT_TRUE(joined->has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded((*joined)->status())) << (*joined)->status();
  EXPECT_THAT(Text((*joined)->status()), HasSubstr("rank 1 of 2 did not join"));
  EXPECT_THAT(Get(job).root_cause().cause(), HasSubstr("did not join the rendezvous within 1m"));
}

TEST_F(CoordinatorTest, JoinsAreCheckedAndAnsweredWhenTheirGenerationEnds) {
  BeatLoader();
  Agent a(&rig_, "a", 2);
  const std::string job = Submit(2, 2);
  a.Run();
  EXPECT_TRUE(absl::IsNotFound((*Join("x", 1, 0))->status()));
  EXPECT_TRUE(absl::IsFailedPrecondition((*Join(job, 2, 0))->status()));
  EXPECT_TRUE(absl::IsInvalidArgument((*Join(job, 1, 2))->status()));
  const auto waiting = Join(job, 1, 0);
  a.Exit(1, 1);
  a.Run();
  ASSERT_TRUE(waiting->has_value());
  EXPECT_THAT(Text((*waiting)->status()), HasSubstr("rank 1 on node a exited with code 1"));
}

TEST_F(CoordinatorTest, CheckpointsAreRetainedAndCommittedOnce) {
  Pair pair = RunningPair();
  ASSERT_TRUE(Commit(pair.job, 1, 10).ok());
  ASSERT_TRUE(Commit(pair.job, 1, 20).ok());
  const std::string first = absl::StrCat("/checkpoints/", pair.job, "/step-10");
  EXPECT_THAT(Commit(pair.job, 1, 30)->dropped_directories(), ElementsAre(first));
  const int64_t appends = rig_.disk.appends;
  // The answer was lost.
  EXPECT_THAT(Commit(pair.job, 1, 30)->dropped_directories(), ElementsAre(first));
  EXPECT_EQ(rig_.disk.appends, appends);
  EXPECT_TRUE(absl::IsAlreadyExists(Commit(pair.job, 1, 30, "xxh128:2").status()));
  const auto list = rig_.coordinator->ListCheckpoints(pair.job);
  ASSERT_EQ(list->checkpoints_size(), 2);
  EXPECT_EQ(list->checkpoints(0).step(), 30);
  v1::CommitCheckpointRequest bad;
  bad.set_job_id(pair.job);
  bad.set_generation(1);
  bad.set_step(40);
  bad.set_digest("xxh128:1");
  for (const std::string directory : {"", "relative/path", "/checkpoints/../etc"}) {
    bad.set_directory(directory);
    EXPECT_TRUE(absl::IsInvalidArgument(rig_.coordinator->CommitCheckpoint(bad).status())) << directory;
  }
}

TEST_F(CoordinatorTest, AFullDiskAcknowledgesNothingAndRecovers) {
  BeatLoader();
  Agent a(&rig_, "a", 1);
  rig_.disk.fault = [] { return MemoryDisk::Fault::kFull; };
  const absl::Status status = rig_.coordinator->SubmitJob(SubmitRequest(1, 1, "r1")).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(Text(status), HasSubstr("the disk is full"));
  EXPECT_EQ(rig_.coordinator->ListJobs({})->jobs_size(), 0);
  // Nothing to write: heartbeats go on.
  EXPECT_TRUE(a.Beat().ok());
  rig_.disk.fault = [] { return MemoryDisk::Fault::kNone; };
  EXPECT_EQ(rig_.coordinator->SubmitJob(SubmitRequest(1, 1, "r1"))->state(), v1::JOB_STATE_STARTING);
}

TEST_F(CoordinatorTest, WhatCouldNotBeWrittenIsTriedAgain) {
  BeatLoader();
  Agent a(&rig_, "a", 1);
  const std::string job = Submit(1, 1);
  a.Run();
  rig_.disk.fault = [] { return MemoryDisk::Fault::kFull; };
  const auto joined = Join(job, 1, 0);
  EXPECT_FALSE(joined->has_value());
  EXPECT_TRUE(absl::IsUnavailable(rig_.coordinator->Tick()));
  a.Exit(0, 1);
  EXPECT_TRUE(absl::IsUnavailable(a.Beat().status()));
  a.ranks[0].set_state(v1::RANK_STATE_RUNNING);
  rig_.disk.fault = [] { return MemoryDisk::Fault::kNone; };
  EXPECT_TRUE(rig_.coordinator->Tick().ok());
  EXPECT_TRUE(joined->has_value());
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_RUNNING);
}

TEST_F(CoordinatorTest, CancellingDropsTheRanksAndTellsTheTrainers) {
  Pair pair = RunningPair();
  v1::CancelJobRequest cancel;
  cancel.set_job_id(pair.job);
  EXPECT_EQ(rig_.coordinator->CancelJob(cancel, "")->state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(rig_.coordinator->CancelJob(cancel, "")->state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(Report(pair.job, 1, 1, 1)->action(), v1::TRAINER_ACTION_STOP);
  EXPECT_THAT(Get(pair.job).reason(), HasSubstr("waits until ranks 0, 1 have ended"));
  EXPECT_EQ(pair.a.Beat()->assignments_size(), 0);
  pair.a.Exit(0, 143);
  pair.b.Exit(1, 0);
  pair.a.Run();
  pair.b.Run();
  EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(rig_.coordinator->CancelJob(cancel, "")->state(), v1::JOB_STATE_CANCELLED);
  const std::string waiting = Submit(8, 8);
  cancel.set_job_id(waiting);
  EXPECT_EQ(rig_.coordinator->CancelJob(cancel, "")->state(), v1::JOB_STATE_CANCELLED);
  cancel.set_job_id("x");
  EXPECT_TRUE(absl::IsNotFound(rig_.coordinator->CancelJob(cancel, "").status()));
}

TEST_F(CoordinatorTest, AFullHistoryIsPassedOnToTheTrainer) {
  Pair pair = RunningPair();
  rig_.history.full = true;
  EXPECT_TRUE(absl::IsUnavailable(Report(pair.job, 1, 1, 3).status()));
  EXPECT_FALSE(Get(pair.job).has_last_step());
  rig_.history.full = false;
  EXPECT_TRUE(Report(pair.job, 1, 1, 3).ok());
  EXPECT_EQ(Get(pair.job).last_step().step(), 3);
}

TEST_F(CoordinatorTest, JobsWaitForADataloader) {
  Agent a(&rig_, "a", 1);
  const std::string job = Submit(1, 1);
  EXPECT_THAT(Get(job).reason(), HasSubstr("no dataloader"));
  BeatLoader();
  EXPECT_EQ(StateOf(job), v1::JOB_STATE_STARTING);
  EXPECT_EQ(rig_.coordinator->ListNodes().loaders_size(), 1);
  rig_.Pass(absl::Seconds(4));
  EXPECT_EQ(rig_.coordinator->ListNodes().loaders_size(), 0);
}

TEST_F(CoordinatorTest, JobsAreListedInPagesNewestFirst) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(Submit(1, 1));
  v1::CancelJobRequest cancel;
  cancel.set_job_id(ids[2]);
  ASSERT_TRUE(rig_.coordinator->CancelJob(cancel, "").ok());
  v1::ListJobsRequest request;
  request.set_page_size(2);
  request.add_states(v1::JOB_STATE_PENDING);
  std::vector<std::string> listed;
  do {
    const auto page = rig_.coordinator->ListJobs(request);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const v1::Job& job : page->jobs()) listed.push_back(job.id());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(listed, ElementsAre(ids[4], ids[3], ids[1], ids[0]));
  request.set_page_token("x");
  EXPECT_TRUE(absl::IsInvalidArgument(rig_.coordinator->ListJobs(request).status()));
}

TEST_F(CoordinatorTest, AVersionTellsOfEveryChange) {
  Pair pair = RunningPair();
  const JobId id(pair.job);
  const uint64_t before = rig_.coordinator->JobVersion(id);
  pair.a.Run();
  EXPECT_EQ(rig_.coordinator->JobVersion(id), before);
  ASSERT_TRUE(Report(pair.job, 1, 1, 1).ok());
  EXPECT_GT(rig_.coordinator->JobVersion(id), before);
  EXPECT_EQ(rig_.coordinator->JobVersion(JobId("x")), 0);
}

TEST_F(CoordinatorTest, TheJournalIsCompacted) {
  rig_.disk.compact_records = 4;
  for (int i = 0; i < 10; ++i) Submit(1, 1);
  EXPECT_TRUE(rig_.coordinator->Tick().ok());
  EXPECT_EQ(rig_.disk.records.size(), 0);
  const std::string before = rig_.coordinator->TakeSnapshot().SerializeAsString();
  rig_.Restart();
  EXPECT_EQ(rig_.coordinator->TakeSnapshot().SerializeAsString(), before);
}

}  // namespace
}  // namespace bert::coordinator
