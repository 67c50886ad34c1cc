#include "coordinator/coordinator.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator_fixture.h"

namespace bert::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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

TEST_F(CoordinatorTest, ADryRunSaysWhereTheNodesCouldNeverHoldTheJob) {
  Agent a(&rig_, "a", 1);
  Agent b(&rig_, "b", 2);
  v1::SubmitJobRequest request = SubmitRequest(3, 3);
  request.set_dry_run(true);
  EXPECT_TRUE(rig_.coordinator->SubmitJob(request).ok());
  request.mutable_spec()->mutable_workers()->set_min(4);
  request.mutable_spec()->mutable_workers()->set_max(4);
  const absl::Status status = rig_.coordinator->SubmitJob(request).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(Text(status), HasSubstr("needs 4 slots; all nodes together have 3"));
  // A real one waits: another node may come.
  request.set_dry_run(false);
  EXPECT_EQ(rig_.coordinator->SubmitJob(request)->reason(), "needs 4 slots, 3 free; all nodes together have 3");
  // Slots of a lost node are none.
  request.set_dry_run(true);
  request.mutable_spec()->mutable_workers()->set_min(2);
  for (int i = 0; i < 4; ++i) {
    rig_.Pass(absl::Seconds(1));
    ASSERT_TRUE(a.Beat().ok());
  }
  EXPECT_THAT(Text(rig_.coordinator->SubmitJob(request).status()), HasSubstr("all nodes together have 1"));
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

TEST_F(CoordinatorTest, AnAssignmentBringsTheNewestCheckpoints) {
  BeatLoader();
  Agent a(&rig_, "a", 1);
  v1::SubmitJobRequest request = SubmitRequest(1, 1);
  request.mutable_spec()->mutable_checkpoint()->set_keep_last(1000);
  const std::string job = rig_.coordinator->SubmitJob(request)->id();
  a.Run();
  Join(job, 1, 0);
  for (int64_t step = 1; step <= 12; ++step) ASSERT_TRUE(Commit(job, 1, step).ok());
  const v1::HeartbeatResponse answer = *a.Beat();
  const auto& points = answer.assignments(0).resume_points();
  ASSERT_EQ(points.size(), 10);
  EXPECT_EQ(points[0].step(), 12);
  EXPECT_EQ(points[9].step(), 3);
}

TEST_F(CoordinatorTest, AJobShowsWhereItsTimeGoes) {
  Pair pair = RunningPair();
  v1::ReportProgressRequest request;
  request.set_job_id(pair.job);
  request.set_generation(1);
  request.add_steps()->set_step(1);
  request.mutable_time_shares()->set_compute(0.75);
  ASSERT_TRUE(rig_.coordinator->ReportProgress(request).ok());
  EXPECT_EQ(Get(pair.job).time_shares().compute(), 0.75);
  // Nothing was done since.
  request.mutable_time_shares()->set_compute(0);
  ASSERT_TRUE(rig_.coordinator->ReportProgress(request).ok());
  EXPECT_EQ(Get(pair.job).time_shares().compute(), 0.75);
}

TEST_F(CoordinatorTest, EveryRankTellsHowItDoesAndWhyTheTrainingEndsEarly) {
  Pair pair = RunningPair();
  v1::ReportProgressRequest request;
  request.set_job_id(pair.job);
  request.set_generation(1);
  request.set_rank(1);
  request.mutable_time_shares()->set_data_wait(0.25);
  request.set_tokens_per_second(500);
  ASSERT_TRUE(rig_.coordinator->ReportProgress(request).ok());
  request.set_rank(0);
  request.set_skipped_steps(2);
  request.set_early_end("the loss is low enough");
  ASSERT_TRUE(rig_.coordinator->ReportProgress(request).ok());
  const v1::Job job = Get(pair.job);
  ASSERT_EQ(job.rank_health_size(), 2);
  EXPECT_EQ(job.rank_health(1).tokens_per_second(), 500);
  EXPECT_EQ(job.skipped_steps(), 2);
  request.set_rank(2);
  EXPECT_EQ(rig_.coordinator->ReportProgress(request).status().code(), absl::StatusCode::kInvalidArgument);
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
