#include "bertctl/progress_line.h"

#include <gmock/gmock.h>

#include "bertctl/example_job.h"

namespace bert::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ProgressLineTest, ShowsARunningJob) {
  EXPECT_EQ(ProgressLine(ExampleJob(), absl::Milliseconds(450), 0),
            "[########------------]  40%  step 240/600  loss 5.1234  8,343 tokens/s  ETA 2m42s");
  EXPECT_EQ(ProgressLine(ExampleJob(), std::nullopt, 0),
            "[########------------]  40%  step 240/600  loss 5.1234  8,343 tokens/s");
}

TEST(ProgressLineTest, GivesWayToANarrowTerminal) {
  EXPECT_EQ(ProgressLine(ExampleJob(), absl::Milliseconds(450), 70),
            "[###-----]  40%  step 240/600  loss 5.1234  8,343 tokens/s  ETA 2m42s");
  EXPECT_EQ(ProgressLine(ExampleJob(), absl::Milliseconds(450), 60),
            " 40%  step 240/600  loss 5.1234  8,343 tokens/s  ETA 2m42s");
  EXPECT_EQ(ProgressLine(ExampleJob(), absl::Milliseconds(450), 20), " 40%  step 240/600  ");
}

TEST(ProgressLineTest, ShowsTheReasonOfAJobThatDoesNotRun) {
  v1::Job job = ExampleJob();
  job.set_state(v1::JOB_STATE_PENDING);
  job.set_reason("waits for 2 slots; 1 is free");
  EXPECT_EQ(ProgressLine(job, std::nullopt, 0), "pending: waits for 2 slots; 1 is free");
  EXPECT_EQ(ProgressLine(job, std::nullopt, 7), "pending");
  job.set_reason("");
  EXPECT_EQ(ProgressLine(job, std::nullopt, 0), "pending");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.clear_last_step();
  EXPECT_EQ(ProgressLine(job, std::nullopt, 0), "running: its first step is under way");
}

TEST(ProgressLineTest, BearsOddNumbers) {
  v1::Job job = ExampleJob();
  job.mutable_spec()->mutable_train()->set_steps(0);
  EXPECT_EQ(ProgressLine(job, std::nullopt, 0), "[--------------------]   0%  step 240/?  loss 5.1234  8,343 tokens/s");
  job.mutable_spec()->mutable_train()->set_steps(240);
  EXPECT_EQ(ProgressLine(job, absl::Seconds(1), 0),
            "[####################] 100%  step 240/240  loss 5.1234  8,343 tokens/s  finishing");
}

v1::Job AtStep(int64_t step, absl::Duration before_now, int64_t generation = 1) {
  v1::Job job;
  job.set_generation(generation);
  job.mutable_last_step()->set_step(step);
  *job.mutable_last_step()->mutable_time() = ExampleTime(before_now);
  return job;
}

TEST(PaceTest, FollowsThePresentPace) {
  Pace pace;
  EXPECT_EQ(pace.step_duration(), std::nullopt);
  pace.Observe(AtStep(10, absl::Seconds(100)));
  EXPECT_EQ(pace.step_duration(), std::nullopt);
  pace.Observe(AtStep(20, absl::Seconds(90)));
  EXPECT_EQ(pace.step_duration(), absl::Seconds(1));
  pace.Observe(AtStep(20, absl::Seconds(90)));
  EXPECT_EQ(pace.step_duration(), absl::Seconds(1));
  pace.Observe(AtStep(25, absl::Seconds(80)));
  EXPECT_EQ(pace.step_duration(), absl::Seconds(1.5));
  pace.Observe(AtStep(125, absl::Seconds(30)));
  EXPECT_EQ(pace.step_duration(), absl::Seconds(0.5));
}

TEST(PaceTest, AResumeDoesNotSpoilIt) {
  Pace pace;
  pace.Observe(AtStep(10, absl::Seconds(100)));
  pace.Observe(AtStep(20, absl::Seconds(90)));
  pace.Observe(AtStep(11, absl::Seconds(50), 2));
  EXPECT_EQ(pace.step_duration(), absl::Seconds(1));
  pace.Observe(AtStep(21, absl::Seconds(40), 2));
  EXPECT_EQ(pace.step_duration(), absl::Seconds(1));
}

TEST(ProgressNotesTest, KeepsWhatHappened) {
  const v1::Job now = ExampleJob();
  EXPECT_THAT(ProgressNotes(&now, now), IsEmpty());
  EXPECT_THAT(ProgressNotes(nullptr, now),
              ElementsAre("generation 1 failed: rank 1 on node node-a was killed by signal 9 (SIGKILL)"));
  v1::Job before = now;
  before.set_generation(1);
  before.clear_root_cause();
  before.mutable_last_validation()->set_step(100);
  before.set_checkpoint_step(100);
  EXPECT_THAT(ProgressNotes(&before, now),
              ElementsAre("generation 1 failed: rank 1 on node node-a was killed by signal 9 (SIGKILL)",
                          "generation 2 starts from the checkpoint of step 200",
                          "validation at step 200: loss 5.2500, perplexity 190.6, accuracy 21.3%",
                          "checkpoint of step 200 committed"));
}

TEST(ProgressNotesTest, NamesTheStart) {
  v1::Job before;
  v1::Job now = ExampleJob();
  now.clear_root_cause();
  now.clear_last_validation();
  now.set_checkpoint_step(0);
  now.set_generation(1);
  EXPECT_THAT(ProgressNotes(&before, now), ElementsAre("started with 2 ranks"));
  before.set_generation(1);
  now.set_generation(2);
  EXPECT_THAT(ProgressNotes(&before, now), ElementsAre("generation 2 starts from the beginning"));
}

TEST(EndSummaryTest, OfASuccess) {
  v1::Job job = ExampleJob();
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  *job.mutable_end_time() = ExampleTime(absl::ZeroDuration());
  EXPECT_EQ(EndSummary(job), R"(job tiny-english-ab12c succeeded after 3m12s
  step 240 of 600, loss 5.1234
  validation at step 200: loss 5.2500, perplexity 190.6, accuracy 21.3%
  newest checkpoint: step 200; see `bertctl checkpoint list tiny-english-ab12c`
)");
}

TEST(EndSummaryTest, OfAFailureWithItsRootCause) {
  v1::Job job = ExampleJob();
  job.set_state(v1::JOB_STATE_FAILED);
  job.set_reason("3 restarts without progress");
  job.clear_last_step();
  job.clear_last_validation();
  job.set_checkpoint_step(0);
  EXPECT_EQ(EndSummary(job), R"(job tiny-english-ab12c failed: 3 restarts without progress
  root cause in generation 1: rank 1 on node node-a was killed by signal 9 (SIGKILL)
  the last lines of rank 1 on node-a in generation 1:
    | step=130 loss=6.01
    | ?[31mcoloured
)");
  job.set_reason("no restarts left: rank 1 on node node-a was killed by signal 9 (SIGKILL)");
  EXPECT_THAT(EndSummary(job), testing::StartsWith("job tiny-english-ab12c failed: no restarts left: rank 1 on node "
                                                   "node-a was killed by signal 9 (SIGKILL)\n"
                                                   "  the last lines of rank 1"));
}

TEST(ProgressLineTest, CountsAsTheTrainersDoWhereTheJobGivesNoSteps) {
  v1::Job job = ExampleJob();
  job.mutable_spec()->mutable_train()->clear_steps();
  EXPECT_THAT(ProgressLine(job, absl::Milliseconds(450), 0), HasSubstr("step 240/?  loss"));
  job.mutable_last_step()->set_total_steps(960);
  EXPECT_EQ(ProgressLine(job, absl::Milliseconds(450), 0),
            "[#####---------------]  25%  step 240/960  loss 5.1234  8,343 tokens/s  ETA 5m24s");
}

}  // namespace
}  // namespace bert::ctl
