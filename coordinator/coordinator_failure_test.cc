// What the coordinator does when ranks, nodes, its disk or it itself fail.
#include <gmock/gmock.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator_fixture.h"

namespace bert::coordinator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

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

TEST_F(CoordinatorTest, AResumeDiscardsTheValidationsAfterIt) {
  Pair pair = RunningPair();
  ASSERT_TRUE(Commit(pair.job, 1, 10).ok());
  v1::ReportProgressRequest request;
  request.set_job_id(pair.job);
  request.set_generation(1);
  request.add_steps()->set_step(20);
  request.add_validations()->set_step(20);
  ASSERT_TRUE(rig_.coordinator->ReportProgress(request).ok());
  EXPECT_EQ(Get(pair.job).last_validation().step(), 20);
  pair.a.Exit(0, 1);
  pair.b.Exit(1, 3);
  pair.a.Run();
  pair.b.Run();
  rig_.Pass(absl::Seconds(1));
  BeatLoader();
  pair.a.Run();
  pair.b.Run();
  ASSERT_EQ(Get(pair.job).generation(), 2);
  ASSERT_TRUE(Report(pair.job, 2, 11, 12).ok());
  EXPECT_EQ(Get(pair.job).last_step().step(), 12);
  EXPECT_FALSE(Get(pair.job).has_last_validation());
  // A repetition of what was taken, and then a validation of its own.
  ASSERT_TRUE(Report(pair.job, 2, 11, 20).ok());
  request.set_generation(2);
  ASSERT_TRUE(rig_.coordinator->ReportProgress(request).ok());
  EXPECT_EQ(Get(pair.job).last_validation().step(), 20);
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

TEST_F(CoordinatorTest, AnAgentThatIsToldToStopIsNoFailureOfItsJobs) {
  Pair pair = RunningPair();
  for (int i = 0; i < 10; ++i) {
    const int64_t generation = Get(pair.job).generation();
    // As an agent does on SIGTERM, with ranks that still run, and one that starts after it.
    const auto withdrawn = rig_.coordinator->RegisterNode(RegisterRequest("b", absl::StrCat("b-stopping-", i), 0));
    ASSERT_TRUE(withdrawn.ok()) << withdrawn.status();
    EXPECT_EQ(StateOf(pair.job), v1::JOB_STATE_PENDING);
    EXPECT_THAT(Get(pair.job).reason(), Not(HasSubstr("failed")));
    EXPECT_FALSE(Get(pair.job).has_root_cause());
    pair.a.Exit(0, 143);
    BeatLoader();
    pair.a.Run();
    Agent next(&rig_, "b", 1, absl::StrCat(i + 2));
    rig_.Pass(absl::Seconds(2));
    BeatLoader();
    pair.a.Run();
    ASSERT_EQ(StateOf(pair.job), v1::JOB_STATE_STARTING);
    ASSERT_EQ(Get(pair.job).generation(), generation + 1);
  }
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

TEST_F(CoordinatorTest, ACompactionThatFailedIsTriedAgainLater) {
  rig_.disk.compact_records = 1;
  rig_.disk.compactions_fail = true;
  Submit(1, 1);
  rig_.Pass(absl::Seconds(29));
  EXPECT_EQ(rig_.disk.compaction_attempts, 1);
  rig_.disk.compactions_fail = false;
  EXPECT_GT(rig_.disk.records.size(), 0);
  rig_.Pass(absl::Seconds(2));
  EXPECT_EQ(rig_.disk.compaction_attempts, 2);
  EXPECT_EQ(rig_.disk.records.size(), 0);
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

TEST_F(CoordinatorTest, AFullHistoryIsPassedOnToTheTrainer) {
  Pair pair = RunningPair();
  rig_.history.full = true;
  EXPECT_TRUE(absl::IsUnavailable(Report(pair.job, 1, 1, 3).status()));
  EXPECT_FALSE(Get(pair.job).has_last_step());
  rig_.history.full = false;
  EXPECT_TRUE(Report(pair.job, 1, 1, 3).ok());
  EXPECT_EQ(Get(pair.job).last_step().step(), 3);
}

}  // namespace
}  // namespace bert::coordinator
