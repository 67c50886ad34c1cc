#include "coordinator/job_health.h"

namespace bert::coordinator {

JobHealth::News JobHealth::Take(const v1::ReportProgressRequest& report) {
  if (report.generation() > generation_) {
    generation_ = report.generation();
    ranks_.clear();
    earlier_skipped_steps_ += generation_skipped_steps_;
    generation_skipped_steps_ = 0;
    early_end_.clear();
  }
  News news;
  if (report.skipped_steps() > generation_skipped_steps_) {
    news.skipped_steps = report.skipped_steps() - generation_skipped_steps_;
    generation_skipped_steps_ = report.skipped_steps();
  }
  if (early_end_.empty() && !report.early_end().empty()) news.early_end = early_end_ = report.early_end();
  if (report.has_time_shares()) {
    v1::RankHealth& rank = ranks_[report.rank()];
    rank.set_rank(report.rank());
    rank.set_completed_steps(report.completed_steps());
    *rank.mutable_time_shares() = report.time_shares();
    rank.set_tokens_per_second(report.tokens_per_second());
    rank.set_mfu(report.mfu());
  }
  news.any = report.has_time_shares() || news.skipped_steps > 0;
  return news;
}

const std::map<int32_t, v1::RankHealth>& JobHealth::ranks(int64_t generation) const {
  static const auto* const kNone = new std::map<int32_t, v1::RankHealth>;
  return generation == generation_ ? ranks_ : *kNone;
}

void JobHealth::FillIn(int64_t generation, v1::Job& job) const {
  for (const auto& [number, rank] : ranks(generation)) *job.add_rank_health() = rank;
  const int64_t skipped = earlier_skipped_steps_ + generation_skipped_steps_;
  if (skipped > 0) job.set_skipped_steps(skipped);
}

}  // namespace bert::coordinator
