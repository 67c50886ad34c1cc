#include "worker/trainer/training_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/files.h"
#include "worker/trainer/fake_coordinator.h"
#include "worker/trainer/file_size_limit.h"
#include "worker/trainer/rank_threads.h"
#include "worker/trainer/restore.h"
#include "worker/trainer/synthetic_batches.h"

namespace bert::trainer {
namespace {

using ::testing::HasSubstr;

JobPlan Plan() {
  JobPlan plan;
  plan.model = SyntheticModel();
  plan.precision = model::Precision::kFp32;
  plan.max_seq_len = kSyntheticWidth;
  plan.optimizer = {.learning_rate = 5e-3, .warmup_steps = 5};
  plan.steps = 40;
  plan.global_batch_size = 12;
  plan.micro_batch_size = 4;
  plan.validation_rows = 30;
  plan.checkpoint_every_steps = 20;
  plan.workers_max = 3;
  plan.seed = 11;
  return plan;
}

struct Outcome {
  absl::StatusOr<TrainingEnd> end = absl::UnknownError("not run");
  std::vector<StepMetrics> steps;
  std::vector<ValidationMetrics> validations;
  std::vector<CheckpointCommit> commits;
  int64_t skipped_steps = 0;
  std::string early_end;
  std::vector<absl::StatusCode> codes;  // By rank.

  std::vector<double> losses() const {
    std::vector<double> out;
    for (const StepMetrics& step : steps) out.push_back(step.loss);
    return out;
  }
};

class TrainingLoopTest : public ::testing::Test {
 protected:
  void SetUp() override { root_ = absl::StrCat(::testing::TempDir(), "/training_loop_test-", getpid()); }
  void TearDown() override { ASSERT_TRUE(RemoveTree(root_).ok()); }

  std::string root_;
  // Wraps the source of rank 1's rows (of rank 0's, where it is alone).
  OpenBatchSource open_ = OpenSyntheticBatches;
  bool stop_at_once_ = false;
  int runs_ = 0;

  Outcome Run(const JobPlan& plan, int world_size, const std::vector<ResumePoint>& resume_points = {}) {
    Outcome outcome;
    outcome.codes.resize(world_size);
    std::mutex mutex;
    FakeCoordinator coordinator;
    if (stop_at_once_) coordinator.Stop();
    const DatasetDescription dataset = SyntheticDataset();
    // A job of its own: no generation writes over what another has saved.
    const std::string job_directory = absl::StrCat(root_, "/job-", ++runs_);
    EXPECT_TRUE(MakeDirectories(job_directory).ok());
    RunRanks(world_size, [&](collective::Collective& group) {
      FakeCoordinator others;
      FakeCoordinator& mine = group.rank() == 0 ? coordinator : others;
      auto model = model::MaskedLm::Create(plan.model, plan.precision, at::kCPU);
      ASSERT_TRUE(model.ok()) << model.status();
      AdamW optimizer(&(*model)->parameters(), {.weight_decay = plan.optimizer.weight_decay});
      StepTime time(&RealClock());
      ProgressReporter reporter(&mine, &time, {.cadence = absl::Milliseconds(5)});
      if (stop_at_once_ && group.rank() == 0) coordinator.AwaitReports(2);
      TrainingState state;
      state.seed = plan.seed;
      const auto first_step = Restore(resume_points, state, **model, optimizer, group);
      ASSERT_TRUE(first_step.ok()) << first_step.status();
      std::unique_ptr<CheckpointWriter> writer;
      if (group.rank() == 0) {
        writer = std::make_unique<CheckpointWriter>(
            &coordinator, CheckpointWriter::Options{.job_directory = job_directory,
                                                    .config = (*model)->config(),
                                                    .infos = (*model)->parameters().infos(),
                                                    .tokenizer_files = dataset.tokenizer_files});
      }
      const std::vector<PhaseRows> rows(PhasesOf(plan).size(), {dataset.train_rows, dataset.validation_rows});
      const auto steps = PlanSteps(plan, rows);
      ASSERT_TRUE(steps.ok()) << steps.status();
      const OpenBatchSource plain = OpenSyntheticBatches;
      auto end = Train({.plan = plan,
                        .dataset = dataset,
                        .steps = *steps,
                        .state = state,
                        .model = **model,
                        .optimizer = optimizer,
                        .group = group,
                        .open_batches = group.rank() == world_size - 1 ? open_ : plain,
                        .reporter = reporter,
                        .time = time,
                        .checkpoints = writer.get(),
                        .first_step = *first_step});
      if (writer != nullptr) writer->Wait().IgnoreError();
      if (end.ok()) {
        EXPECT_TRUE(reporter.Flush(absl::Seconds(60)).ok());
      } else {
        group.Abort();
      }
      const std::lock_guard lock(mutex);
      outcome.codes[group.rank()] = end.status().code();
      if (group.rank() == 0) outcome.end = end;
    });
    outcome.steps = coordinator.steps();
    outcome.validations = coordinator.validations();
    outcome.commits = coordinator.commits();
    outcome.skipped_steps = coordinator.skipped_steps();
    outcome.early_end = coordinator.early_end();
    return outcome;
  }
};

TEST_F(TrainingLoopTest, LearnsReportsValidatesAndSaves) {
  JobPlan plan = Plan();
  plan.steps = 200;
  plan.checkpoint_every_steps = 80;
  plan.validation_every_steps = 60;
  const Outcome outcome = Run(plan, 1);
  ASSERT_TRUE(outcome.end.ok()) << outcome.end.status();
  EXPECT_EQ(*outcome.end, TrainingEnd::kDone);
  ASSERT_EQ(outcome.steps.size(), 200u);
  EXPECT_NEAR(outcome.steps.front().loss, std::log(kSyntheticVocab), 0.5);
  EXPECT_EQ(outcome.steps.front().step, 1);
  EXPECT_EQ(outcome.steps.back().step, 200);
  EXPECT_EQ(outcome.steps.back().learning_rate, 0);
  EXPECT_EQ(outcome.steps.back().masked_tokens, 12);
  EXPECT_NEAR(outcome.steps.back().epoch, 200 * 12 / 1000.0, 1e-9);
  EXPECT_GT(outcome.steps.back().tokens_per_second, 0);

  std::vector<int64_t> validated;
  for (const ValidationMetrics& validation : outcome.validations) validated.push_back(validation.step);
  EXPECT_EQ(validated, (std::vector<int64_t>{60, 120, 180, 200}));
  const ValidationMetrics& last = outcome.validations.back();
  EXPECT_EQ(last.masked_tokens, 30);
  EXPECT_LT(last.loss, 1.0);
  EXPECT_GT(last.accuracy, 0.7);
  EXPECT_DOUBLE_EQ(last.perplexity, std::exp(last.loss));

  ASSERT_FALSE(outcome.commits.empty());
  EXPECT_EQ(outcome.commits.back().step, 200);
  EXPECT_TRUE(VerifyCheckpoint(outcome.commits.back().directory, outcome.commits.back().digest).ok());
}

TEST_F(TrainingLoopTest, LearnsWhetherTheSecondPartFollows) {
  JobPlan plan = Plan();
  plan.model.next_sentence = true;
  plan.model.hidden_dropout = plan.model.attention_dropout = 0;
  plan.steps = 300;
  plan.checkpoint_every_steps = 300;
  open_ = OpenSyntheticPairs;
  const Outcome outcome = Run(plan, 1);
  ASSERT_TRUE(outcome.end.ok()) << outcome.end.status();
  ASSERT_TRUE(outcome.steps.front().next_sentence_loss.has_value());
  EXPECT_NEAR(*outcome.steps.front().next_sentence_loss, std::log(2), 0.1);
  const ValidationMetrics& last = outcome.validations.back();
  ASSERT_TRUE(last.next_sentence.has_value());
  EXPECT_LT(last.next_sentence->loss, 0.4);
  EXPECT_GT(last.next_sentence->accuracy, 0.8);
}

TEST_F(TrainingLoopTest, TheNumberOfRanksChangesOnlyRounding) {
  JobPlan plan = Plan();
  plan.model.hidden_dropout = plan.model.attention_dropout = 0;
  const Outcome one = Run(plan, 1);
  const Outcome two = Run(plan, 2);
  ASSERT_TRUE(one.end.ok() && two.end.ok()) << one.end.status() << two.end.status();
  ASSERT_EQ(one.steps.size(), two.steps.size());
  for (size_t i = 0; i < one.steps.size(); ++i) {
    EXPECT_NEAR(one.steps[i].loss, two.steps[i].loss, 1e-5 * one.steps[i].loss) << i;
  }
  EXPECT_NEAR(one.validations.back().loss, two.validations.back().loss, 1e-4 * one.validations.back().loss);
  EXPECT_EQ(one.validations.back().masked_tokens, two.validations.back().masked_tokens);
}

TEST_F(TrainingLoopTest, AccumulationIsTheUndividedBatch) {
  JobPlan plan = Plan();
  plan.model.hidden_dropout = plan.model.attention_dropout = 0;
  plan.micro_batch_size = 12;
  const Outcome whole = Run(plan, 1);
  plan.micro_batch_size = 5;
  const Outcome cut = Run(plan, 1);
  ASSERT_EQ(whole.steps.size(), cut.steps.size());
  for (size_t i = 0; i < whole.steps.size(); ++i) {
    EXPECT_NEAR(whole.steps[i].loss, cut.steps[i].loss, 1e-4 * whole.steps[i].loss) << i;
  }
}

// With dropout, clipping, a checkpoint in the middle and another world size after it.
TEST_F(TrainingLoopTest, DeterministicTrainingResumesBitForBit) {
  JobPlan plan = Plan();
  plan.deterministic = true;
  const Outcome undisturbed = Run(plan, 1);
  ASSERT_TRUE(undisturbed.end.ok()) << undisturbed.end.status();
  ASSERT_EQ(undisturbed.commits.size(), 2u);
  EXPECT_EQ(undisturbed.commits[0].step, 20);
  const CheckpointCommit& middle = undisturbed.commits[0];
  for (const int world_size : {1, 2, 3}) {
    const Outcome resumed = Run(plan, world_size, {{middle.step, middle.directory, middle.digest}});
    ASSERT_TRUE(resumed.end.ok()) << resumed.end.status();
    const std::vector<double> all = undisturbed.losses();
    EXPECT_EQ(resumed.losses(), std::vector<double>(all.begin() + 20, all.end())) << world_size;
    EXPECT_EQ(resumed.validations.back().loss, undisturbed.validations.back().loss) << world_size;
  }
}

// Phases of two lengths with a growing batch, clipping and dropout: what a whole recipe has.
JobPlan PhasedPlan() {
  JobPlan plan = Plan();
  plan.deterministic = true;
  plan.optimizer.decay = Decay::kCosine;
  plan.optimizer.final_share = 0.1;
  plan.phases = {{.share = 0.7, .max_seq_len = kSyntheticWidth, .global_batch_size = 12, .micro_batch_size = 4},
                 {.share = 0.3,
                  .max_seq_len = kSyntheticWidth + 8,
                  .global_batch_size = 7,
                  .micro_batch_size = 3,
                  .learning_rate_scale = 0.5}};
  plan.model.max_position_embeddings = kSyntheticWidth + 8;
  plan.batch_ramp = {.start = 3, .share = 0.25, .stages = 2};
  return plan;
}

TEST_F(TrainingLoopTest, ResumesBitForBitInEveryPhaseAndAcrossTheirBorders) {
  JobPlan plan = PhasedPlan();
  // In the ramp, at its end, in the first phase, just before its end, at it and behind it.
  for (const int64_t at : {3, 5, 17, 27, 28, 33}) {
    plan.checkpoint_every_steps = at;
    const Outcome undisturbed = Run(plan, 1);
    ASSERT_TRUE(undisturbed.end.ok()) << undisturbed.end.status();
    ASSERT_EQ(undisturbed.steps.size(), 40u);
    EXPECT_EQ(undisturbed.steps.back().total_steps, 40);
    const std::vector<double> all = undisturbed.losses();
    const CheckpointCommit& commit = undisturbed.commits.front();
    ASSERT_EQ(commit.step, at);
    const int world_size = 1 + static_cast<int>(at % 3);
    const Outcome resumed = Run(plan, world_size, {{commit.step, commit.directory, commit.digest}});
    ASSERT_TRUE(resumed.end.ok()) << resumed.end.status();
    EXPECT_EQ(resumed.losses(), std::vector<double>(all.begin() + at, all.end())) << at;
    EXPECT_EQ(resumed.validations.back().loss, undisturbed.validations.back().loss) << at;
  }
}

// Written down by who opens the streams.
TEST_F(TrainingLoopTest, ReadsEachPhasesRowsWhereTheyEnded) {
  JobPlan plan = PhasedPlan();
  std::vector<RowRange> opened;
  open_ = [&](const RowRange& range) {
    opened.push_back(range);
    return OpenSyntheticBatches(range);
  };
  ASSERT_TRUE(Run(plan, 1).end.ok());
  ASSERT_EQ(opened.size(), 5u);  // Two stages, the rest of the first phase, the second, and its validation.
  const auto is = [](const RowRange& range, int32_t phase, int64_t first_row, int32_t rows, int64_t steps) {
    EXPECT_EQ(range.phase, phase);
    EXPECT_EQ(range.first_row, first_row);
    EXPECT_EQ(range.global_rows, rows);
    EXPECT_EQ(range.first_step, 0);
    EXPECT_EQ(range.last_step, steps);
  };
  is(opened[0], 0, 0, 3, 5);
  is(opened[1], 0, 15, 8, 5);
  is(opened[2], 0, 55, 12, 18);
  is(opened[3], 1, 0, 7, 12);
  EXPECT_EQ(opened[4].split, Split::kValidation);
  EXPECT_EQ(opened[4].phase, 1);
}

TEST_F(TrainingLoopTest, StopsAtAStepBoundaryWithoutACheckpoint) {
  stop_at_once_ = true;
  const Outcome outcome = Run(Plan(), 2);
  ASSERT_TRUE(outcome.end.ok()) << outcome.end.status();
  EXPECT_EQ(*outcome.end, TrainingEnd::kStopped);
  EXPECT_EQ(outcome.steps.size(), 1u);
  EXPECT_TRUE(outcome.commits.empty());
  EXPECT_EQ(outcome.codes[1], absl::StatusCode::kOk);
}

TEST_F(TrainingLoopTest, StepsThatAreNotFiniteChangeNothingAndAreCounted) {
  JobPlan plan = Plan();
  plan.optimizer = {.learning_rate = 1e30, .warmup_steps = 0, .max_grad_norm = 0};
  plan.nonfinite_steps_max = 1000;
  plan.validation_rows = 0;
  const Outcome outcome = Run(plan, 2);
  ASSERT_TRUE(outcome.end.ok()) << outcome.end.status();
  EXPECT_EQ(*outcome.end, TrainingEnd::kDone);
  EXPECT_GE(outcome.skipped_steps, 30);
  EXPECT_EQ(static_cast<int64_t>(outcome.steps.size()) + outcome.skipped_steps, 40);
  for (const StepMetrics& step : outcome.steps) EXPECT_TRUE(std::isfinite(step.loss)) << step.step;
  EXPECT_EQ(outcome.commits.back().step, 40);
}

TEST_F(TrainingLoopTest, EndsWithACheckpointWhereTheTargetLossIsReached) {
  JobPlan plan = Plan();
  plan.validation_every_steps = 10;
  plan.validation_target_loss = 2.5;
  plan.steps = 400;
  plan.checkpoint_every_steps = 1000;
  const Outcome outcome = Run(plan, 2);
  ASSERT_TRUE(outcome.end.ok()) << outcome.end.status();
  EXPECT_EQ(*outcome.end, TrainingEnd::kDone);
  const int64_t last = static_cast<int64_t>(outcome.steps.size());
  ASSERT_LT(last, 400);
  EXPECT_EQ(outcome.validations.back().step, last);
  EXPECT_LE(outcome.validations.back().loss, 2.5);
  for (size_t i = 0; i + 1 < outcome.validations.size(); ++i) EXPECT_GT(outcome.validations[i].loss, 2.5);
  ASSERT_EQ(outcome.commits.size(), 1u);
  EXPECT_EQ(outcome.commits.back().step, last);
  EXPECT_THAT(outcome.early_end, HasSubstr("has reached validation.target_loss 2.5"));
}

TEST_F(TrainingLoopTest, ALossThatIsNotFiniteEndsEveryRank) {
  JobPlan plan = Plan();
  plan.optimizer = {.learning_rate = 1e30, .warmup_steps = 0, .max_grad_norm = 0};
  const Outcome outcome = Run(plan, 2);
  EXPECT_EQ(outcome.end.status().code(), absl::StatusCode::kInternal) << outcome.end.status();
  EXPECT_THAT(outcome.end.status().message(), HasSubstr("on rank 0; that is 1 in a row"));
  EXPECT_THAT(outcome.end.status().message(), HasSubstr("not finite"));
  EXPECT_EQ(outcome.codes[1], absl::StatusCode::kInternal);
}

// Ends its rank after some steps.
class FailingBatches : public SyntheticBatches {
 public:
  using SyntheticBatches::SyntheticBatches;
  absl::StatusOr<sampling::RowBatch> NextStep() override {
    if (++steps_ > 3) return absl::DeadlineExceededError("no dataloader");
    return SyntheticBatches::NextStep();
  }

 private:
  int steps_ = 0;
};

TEST_F(TrainingLoopTest, ARankThatFailsEndsTheOthersAsPeersOfALostOne) {
  open_ = [](const RowRange& range) -> absl::StatusOr<std::unique_ptr<BatchSource>> {
    return std::make_unique<FailingBatches>(range);
  };
  const Outcome outcome = Run(Plan(), 2);
  EXPECT_EQ(outcome.codes[1], absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(outcome.codes[0], absl::StatusCode::kUnavailable);
  EXPECT_THAT(outcome.end.status().message(), HasSubstr("peer lost"));
}

TEST_F(TrainingLoopTest, AFullDiskEndsTheTrainingOnlyAtItsEnd) {
  JobPlan plan = Plan();
  plan.steps = 12;
  plan.checkpoint_every_steps = 5;
  const FileSizeLimit limit(4096);
  const Outcome outcome = Run(plan, 1);
  EXPECT_EQ(outcome.end.status().code(), absl::StatusCode::kResourceExhausted) << outcome.end.status();
  EXPECT_THAT(outcome.end.status().message(), HasSubstr(root_));
  EXPECT_THAT(outcome.end.status().message(), HasSubstr("make room"));
  EXPECT_TRUE(outcome.commits.empty());
}

TEST_F(TrainingLoopTest, ResumingAfterTheLastStepOnlyValidates) {
  JobPlan plan = Plan();
  plan.steps = 5;
  const Outcome first = Run(plan, 1);
  ASSERT_EQ(first.commits.size(), 1u);
  const CheckpointCommit& last = first.commits[0];
  const Outcome again = Run(plan, 1, {{last.step, last.directory, last.digest}});
  ASSERT_TRUE(again.end.ok()) << again.end.status();
  EXPECT_TRUE(again.steps.empty());
  EXPECT_TRUE(again.commits.empty());
  EXPECT_EQ(again.validations.back().loss, first.validations.back().loss);
}

}  // namespace
}  // namespace bert::trainer
