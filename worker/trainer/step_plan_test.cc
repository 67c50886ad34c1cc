#include "worker/trainer/step_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace bert::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

JobPlan Plan(std::vector<PhasePlan> phases, int64_t steps = 0) {
  JobPlan plan;
  plan.steps = steps;
  plan.phases = std::move(phases);
  return plan;
}

StepPlan Planned(const JobPlan& plan, const std::vector<PhaseRows>& rows) {
  const auto steps = PlanSteps(plan, rows);
  EXPECT_TRUE(steps.ok()) << steps.status();
  return *steps;
}

// The original's two phases.
std::vector<PhasePlan> ShortThenLong() {
  return {{.share = 0.9, .max_seq_len = 128, .global_batch_size = 256},
          {.share = 0.1, .max_seq_len = 512, .global_batch_size = 256}};
}

TEST(StepPlanTest, IsOneStretchWithoutPhases) {
  JobPlan plan;
  plan.steps = 70;
  plan.max_seq_len = 64;
  plan.global_batch_size = 8;
  const StepPlan steps = Planned(plan, {{100, 10}});
  EXPECT_EQ(steps.total_steps, 70);
  EXPECT_THAT(steps.stretches,
              ElementsAre(Stretch{.first_step = 0, .last_step = 70, .global_batch_size = 8, .first_row = 0}));
  EXPECT_DOUBLE_EQ(steps.EpochsAfter(70), 5.6);
}

TEST(StepPlanTest, CutsAtPhasesAndStages) {
  JobPlan plan = Plan(ShortThenLong(), 1000);
  plan.batch_ramp = {.start = 64, .share = 0.2, .stages = 2};
  const StepPlan steps = Planned(plan, {{10'000, 10}, {2500, 3}});
  EXPECT_THAT(steps.stretches, ElementsAre(Stretch{0, 0, 100, 64, 0}, Stretch{0, 100, 200, 160, 6400},
                                           Stretch{0, 200, 900, 256, 22'400}, Stretch{1, 900, 1000, 256, 0}));
  EXPECT_EQ(steps.At(0).global_batch_size, 64);
  EXPECT_EQ(steps.At(199).global_batch_size, 160);
  EXPECT_EQ(steps.At(899).phase, 0);
  EXPECT_EQ(steps.At(900).phase, 1);
  EXPECT_DOUBLE_EQ(steps.EpochsAfter(150), (6400 + 50 * 160) / 10'000.0);
  EXPECT_DOUBLE_EQ(steps.EpochsAfter(1000), (22'400 + 700 * 256) / 10'000.0 + 100 * 256 / 2500.0);
}

TEST(StepPlanTest, TakesStepsInsteadOfShares) {
  const StepPlan steps =
      Planned(Plan({{.steps = 30, .max_seq_len = 128, .global_batch_size = 4}, {.steps = 12, .max_seq_len = 256}}, 42),
              {{100, 10}, {50, 5}});
  EXPECT_THAT(steps.stretches, ElementsAre(Stretch{0, 0, 30, 4, 0}, Stretch{1, 30, 42, 1, 0}));
}

TEST(StepPlanTest, APhaseGoesOnWhereTheLastOfItsLengthEnded) {
  const StepPlan steps = Planned(Plan({{.share = 0.5, .max_seq_len = 128, .global_batch_size = 10},
                                       {.share = 0.25, .max_seq_len = 512, .global_batch_size = 3},
                                       {.share = 0.25, .max_seq_len = 128, .global_batch_size = 20}},
                                      8),
                                 {{100, 10}, {30, 3}, {100, 10}});
  EXPECT_THAT(steps.stretches, ElementsAre(Stretch{0, 0, 4, 10, 0}, Stretch{1, 4, 6, 3, 0}, Stretch{2, 6, 8, 20, 40}));
}

// Whatever the shares, batch sizes and stages: no step is left out or doubled, and no row of a length.
TEST(StepPlanTest, StretchesCoverEveryStepAndRowOnce) {
  for (int64_t total = 1; total <= 200; ++total) {
    JobPlan plan = Plan({{.share = 1.0 / 3, .max_seq_len = 32, .global_batch_size = 9},
                         {.share = 1.0 / 3, .max_seq_len = 64, .global_batch_size = 50},
                         {.share = 1.0 / 3, .max_seq_len = 32, .global_batch_size = 17}},
                        total);
    plan.batch_ramp = {.start = 2, .share = 0.6, .stages = 7};
    const StepPlan steps = Planned(plan, {{100, 1}, {60, 1}, {100, 1}});
    int64_t step = 0;
    std::map<int32_t, int64_t> row;
    for (const Stretch& stretch : steps.stretches) {
      EXPECT_EQ(stretch.first_step, step) << total;
      EXPECT_LT(stretch.first_step, stretch.last_step) << total;
      const PhasePlan& phase = steps.phases[stretch.phase];
      EXPECT_EQ(stretch.first_row, row[phase.max_seq_len]) << total;
      EXPECT_GE(stretch.global_batch_size, 2) << total;
      EXPECT_LE(stretch.global_batch_size, phase.global_batch_size) << total;
      row[phase.max_seq_len] += (stretch.last_step - stretch.first_step) * stretch.global_batch_size;
      step = stretch.last_step;
    }
    EXPECT_EQ(step, total);
  }
}

TEST(StepPlanTest, RowsTokensAndEpochsBecomeSteps) {
  JobPlan plan = Plan({{.share = 1, .max_seq_len = 128, .global_batch_size = 32}});
  const auto total = [&](DurationPlan duration) {
    plan.duration = duration;
    return Planned(plan, {{1000, 10}}).total_steps;
  };
  EXPECT_EQ(total({.rows = 320}), 10);
  EXPECT_EQ(total({.rows = 321}), 11);
  EXPECT_EQ(total({.rows = 1}), 1);
  EXPECT_EQ(total({.tokens = 128 * 32 * 7}), 7);
  EXPECT_EQ(total({.tokens = 128 * 32 * 7 + 1}), 8);
  EXPECT_EQ(total({.epochs = 3}), 94);  // 3,000 rows.
  EXPECT_EQ(total({.epochs = 0.032}), 1);
  EXPECT_EQ(total({.epochs = 3.2}), 100);
}

TEST(StepPlanTest, ADurationSufficesAndOneStepLessDoesNot) {
  for (const double epochs : {0.5, 1.0, 2.75, 40.0}) {
    JobPlan plan = Plan(ShortThenLong());
    plan.batch_ramp = {.start = 32, .share = 0.1, .stages = 5};
    plan.duration = {.epochs = epochs};
    const std::vector<PhaseRows> rows = {{100'000, 10}, {25'500, 3}};
    const StepPlan steps = Planned(plan, rows);
    EXPECT_GE(steps.EpochsAfter(steps.total_steps), epochs * (1 - 1e-9));
    plan.steps = steps.total_steps - 1;
    EXPECT_LT(Planned(plan, rows).EpochsAfter(plan.steps), epochs);
  }
}

TEST(StepPlanTest, AWarmupCanBeAShare) {
  JobPlan plan = Plan({{.share = 1, .global_batch_size = 10}});
  plan.duration = {.epochs = 2};
  plan.optimizer.warmup_share = 0.06;
  EXPECT_EQ(Planned(plan, {{1000, 10}}).warmup_steps, 12);
}

TEST(StepPlanTest, RefusesAWarmupAsLongAsWhatADurationComesTo) {
  JobPlan plan = Plan({{.share = 1, .global_batch_size = 10}});
  plan.duration = {.epochs = 2};
  plan.optimizer.warmup_steps = 200;
  const absl::Status status = PlanSteps(plan, {{1000, 10}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("warmup_steps is 200, but the training has 200 steps"));
}

TEST(StepPlanTest, RefusesADurationWithoutEnd) {
  JobPlan plan = Plan({{.share = 1, .global_batch_size = 1}});
  plan.duration = {.rows = int64_t{1} << 40};
  EXPECT_THAT(PlanSteps(plan, {{1000, 10}}).status().message(), HasSubstr("more than 1000000000 steps"));
}

TEST(StepPlanTest, ItsDescriptionTellsTrainingsApart) {
  const std::vector<PhaseRows> rows = {{1000, 10}, {300, 3}};
  const JobPlan plan = Plan(ShortThenLong(), 1000);
  const std::string text = Planned(plan, rows).Description();
  EXPECT_THAT(text, HasSubstr("steps 1 to 900: 256 rows of 128"));
  EXPECT_THAT(text, HasSubstr("steps 901 to 1000: 256 rows of 512"));
  EXPECT_EQ(text, Planned(plan, rows).Description());
  JobPlan other = plan;
  other.phases[1].masking.probability = 0.4;
  EXPECT_NE(Planned(other, rows).Description(), text);
  other = plan;
  other.phases[0].share = 0.8;
  EXPECT_NE(Planned(other, rows).Description(), text);
  other = plan;
  other.phases[1].learning_rate_scale = 2;
  EXPECT_NE(Planned(other, rows).Description(), text);
}

}  // namespace
}  // namespace bert::trainer
