#include "coordinator/job_health.h"

#include <gtest/gtest.h>

namespace bert::coordinator {
namespace {

v1::ReportProgressRequest Report(int64_t generation, int32_t rank, double compute) {
  v1::ReportProgressRequest report;
  report.set_generation(generation);
  report.set_rank(rank);
  report.set_completed_steps(10);
  report.mutable_time_shares()->set_compute(compute);
  report.set_tokens_per_second(100 * (rank + 1));
  report.set_mfu(0.5);
  return report;
}

TEST(JobHealthTest, HoldsTheLastWordOfEveryRank) {
  JobHealth health;
  EXPECT_TRUE(health.Take(Report(1, 1, 0.5)).any);
  health.Take(Report(1, 0, 0.75));
  health.Take(Report(1, 1, 0.25));
  v1::ReportProgressRequest nothing;
  nothing.set_generation(1);
  EXPECT_FALSE(health.Take(nothing).any);
  v1::Job job;
  health.FillIn(1, job);
  ASSERT_EQ(job.rank_health_size(), 2);
  EXPECT_EQ(job.rank_health(0).time_shares().compute(), 0.75);
  EXPECT_EQ(job.rank_health(1).time_shares().compute(), 0.25);
  EXPECT_EQ(job.rank_health(1).tokens_per_second(), 200);
  EXPECT_EQ(job.rank_health(1).completed_steps(), 10);
}

TEST(JobHealthTest, ANewGenerationBeginsAnew) {
  JobHealth health;
  health.Take(Report(1, 0, 0.5));
  health.Take(Report(2, 1, 0.5));
  v1::Job job;
  health.FillIn(2, job);
  ASSERT_EQ(job.rank_health_size(), 1);
  EXPECT_EQ(job.rank_health(0).rank(), 1);
  EXPECT_TRUE(health.ranks(3).empty());
}

TEST(JobHealthTest, SkippedStepsAndAnEarlyEndAreNewsOnce) {
  JobHealth health;
  v1::ReportProgressRequest report = Report(1, 0, 0.5);
  report.set_skipped_steps(2);
  report.set_early_end("reached");
  EXPECT_EQ(health.Take(report).skipped_steps, 2);
  const JobHealth::News again = health.Take(report);
  EXPECT_EQ(again.skipped_steps, 0);
  EXPECT_EQ(again.early_end, "");
  report.set_rank(1);
  report.set_skipped_steps(3);
  EXPECT_EQ(health.Take(report).skipped_steps, 1);
  report.set_generation(2);
  report.set_skipped_steps(1);
  const JobHealth::News later = health.Take(report);
  EXPECT_EQ(later.skipped_steps, 1);
  EXPECT_EQ(later.early_end, "reached");
  v1::Job job;
  health.FillIn(2, job);
  EXPECT_EQ(job.skipped_steps(), 4);
}

}  // namespace
}  // namespace bert::coordinator
