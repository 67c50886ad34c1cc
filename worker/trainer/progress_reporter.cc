#include "worker/trainer/progress_reporter.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/status_macros.h"

namespace bert::trainer {

ProgressReporter::ProgressReporter(Coordinator* coordinator, StepTime* time, Options options)
    : coordinator_(coordinator),
      time_(time),
      options_(std::move(options)),
      totals_(time->Totals()),
      reported_totals_(totals_) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "progress");
    Run();
  });
}

ProgressReporter::~ProgressReporter() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void ProgressReporter::SetCompletedSteps(int64_t steps) {
  MutexLock lock(&mutex_);
  completed_steps_ = steps;
}

void ProgressReporter::AddStep(const StepMetrics& step) {
  MutexLock lock(&mutex_);
  if (steps_.size() >= options_.points_max) steps_.pop_front();
  steps_.push_back(step);
}

void ProgressReporter::AddValidation(const ValidationMetrics& validation) {
  MutexLock lock(&mutex_);
  if (validations_.size() >= options_.points_max) validations_.erase(validations_.begin());
  validations_.push_back(validation);
}

void ProgressReporter::AddRates(const Rates& rates, absl::Duration spent) {
  MutexLock lock(&mutex_);
  rate_sums_.tokens_per_second += rates.tokens_per_second * absl::ToDoubleSeconds(spent);
  rate_sums_.mfu += rates.mfu * absl::ToDoubleSeconds(spent);
  rate_time_ += spent;
  totals_ = time_->Totals();
}

void ProgressReporter::AddSkippedStep() {
  MutexLock lock(&mutex_);
  ++skipped_steps_;
}

void ProgressReporter::SetEarlyEnd(const std::string& why) {
  MutexLock lock(&mutex_);
  early_end_ = why;
}

RankHealth ProgressReporter::TakeHealth() {
  const double seconds = absl::ToDoubleSeconds(std::exchange(rate_time_, absl::ZeroDuration()));
  const Rates sums = std::exchange(rate_sums_, {});
  const PhaseTotals before = std::exchange(reported_totals_, totals_);
  return {.time_shares = SharesBetween(before, totals_),
          .rates = {.tokens_per_second = sums.tokens_per_second / seconds, .mfu = sums.mfu / seconds}};
}

absl::Status ProgressReporter::Flush(absl::Duration timeout) {
  return FlushUntil(timeout, [this] {
    mutex_.AssertHeld();
    return NothingLeft();
  });
}

absl::Status ProgressReporter::FlushUpTo(int64_t step, absl::Duration timeout) {
  return FlushUntil(timeout, [this, step] {
    mutex_.AssertHeld();
    return NothingLeftUpTo(step);
  });
}

absl::Status ProgressReporter::FlushUntil(absl::Duration timeout, const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  ++flushes_;
  changed_.SignalAll();
  while (!done() && absl::Now() < deadline) changed_.WaitFor(&mutex_, deadline - absl::Now());
  --flushes_;
  if (done()) return absl::OkStatus();
  return absl::DeadlineExceededError("the coordinator has not acknowledged the last steps");
}

bool ProgressReporter::NothingLeftUpTo(int64_t step) const {
  return (steps_.empty() || steps_.front().step > step) && (validations_.empty() || validations_.front().step > step);
}

bool ProgressReporter::NothingLeft() const {
  return steps_.empty() && validations_.empty() && acknowledged_steps_ == completed_steps_;
}

ProgressReport ProgressReporter::TakeReport() {
  ProgressReport report;
  report.completed_steps = completed_steps_;
  report.skipped_steps = skipped_steps_;
  report.early_end = early_end_;
  if (rate_time_ > absl::ZeroDuration()) report.health = TakeHealth();
  const size_t steps = std::min(steps_.size(), options_.points_per_report);
  report.steps.assign(steps_.begin(), steps_.begin() + steps);
  const size_t validations = std::min(validations_.size(), options_.points_per_report);
  report.validations.assign(validations_.begin(), validations_.begin() + validations);
  return report;
}

// By step, since the oldest may have been dropped while the call was under way.
void ProgressReporter::Acknowledge(const ProgressReport& report) {
  acknowledged_steps_ = report.completed_steps;
  while (!report.steps.empty() && !steps_.empty() && steps_.front().step <= report.steps.back().step) {
    steps_.pop_front();
  }
  const auto reported = [&](const ValidationMetrics& validation) {
    return !report.validations.empty() && validation.step <= report.validations.back().step;
  };
  std::erase_if(validations_, reported);
}

void ProgressReporter::Run() {
  bool lost = false;
  while (true) {
    ProgressReport report;
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
      report = TakeReport();
    }
    const absl::StatusOr<ProgressAnswer> answer = coordinator_->ReportProgress(report);
    if (answer.ok()) {
      if (lost) spdlog::info("the coordinator is back");
      lost = false;
      if (answer->stop) stop_requested_ = true;
      options_.on_loaders(answer->loaders);
    } else if (answer.status().code() == absl::StatusCode::kFailedPrecondition) {
      options_.on_stale(answer.status());
      return;
    } else {
      if (!lost) {
        spdlog::warn("the coordinator does not answer, training goes on: {}", std::string(answer.status().message()));
      }
      lost = true;
    }
    MutexLock lock(&mutex_);
    if (answer.ok()) Acknowledge(report);
    changed_.SignalAll();
    if (answer.ok() && (steps_.size() >= options_.points_per_report || (flushes_ > 0 && !NothingLeft()))) continue;
    if (!stopping_) changed_.WaitFor(&mutex_, options_.cadence);
  }
}

}  // namespace bert::trainer
