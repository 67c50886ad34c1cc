#include "worker/trainer/step_log.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/trainer/log_line.h"

namespace bert::trainer {

StepLog::StepLog(const Options& options, StepTime* time, ProgressReporter* reporter, record::TrainingRecord* record)
    : options_(options),
      time_(time),
      reporter_(reporter),
      record_(record),
      step_end_(time->Monotonic()),
      step_data_wait_(time->Total(Phase::kDataWait)),
      step_checkpoint_(time->Total(Phase::kCheckpoint)),
      line_data_wait_(step_data_wait_) {}

// Of all ranks together, each having the device of this one.
double StepLog::Utilisation(double tokens, double masked_tokens, double steps, absl::Duration spent) const {
  if (options_.peak_flops <= 0 || spent <= absl::ZeroDuration()) return 0;
  const double flops = estimate::TrainFlops(
      options_.shape, {.rows = steps * options_.rows_per_step, .tokens = tokens, .masked_tokens = masked_tokens});
  return flops / absl::ToDoubleSeconds(spent) / (options_.peak_flops * options_.world_size);
}

StepLog::Waits StepLog::TakeWaits() {
  const absl::Duration now = time_->Monotonic();
  const absl::Duration data_wait = time_->Total(Phase::kDataWait);
  const absl::Duration checkpoint = time_->Total(Phase::kCheckpoint);
  const absl::Duration wall = std::max(now - step_end_, absl::Nanoseconds(1));
  const Waits waits = {.data = absl::FDivDuration(data_wait - step_data_wait_, wall),
                       .checkpoint = absl::FDivDuration(checkpoint - step_checkpoint_, wall)};
  step_end_ = now;
  step_data_wait_ = data_wait;
  step_checkpoint_ = checkpoint;
  return waits;
}

void StepLog::Record(const StepMetrics& metrics, double mfu, bool skipped) {
  const Waits waits = TakeWaits();
  if (record_ == nullptr) return;
  record_->Add(record::StepPoint{.step = metrics.step,
                                 .loss = metrics.loss,
                                 .learning_rate = metrics.learning_rate,
                                 .grad_norm = metrics.grad_norm,
                                 .tokens_per_second = metrics.tokens_per_second,
                                 .mfu = mfu,
                                 .data_wait = waits.data,
                                 .checkpoint_stall = waits.checkpoint,
                                 .skipped = skipped,
                                 .time = metrics.time});
}

void StepLog::Add(StepMetrics metrics, int64_t tokens, absl::Duration spent) {
  metrics.tokens_per_second = static_cast<double>(tokens) / absl::ToDoubleSeconds(spent);
  const double mfu =
      Utilisation(static_cast<double>(tokens), static_cast<double>(metrics.masked_tokens), 1, spent);
  reporter_->AddRates({.tokens_per_second = metrics.tokens_per_second / options_.world_size, .mfu = mfu}, spent);
  Record(metrics, mfu, /*skipped=*/false);
  if (options_.rank != 0) return;
  reporter_->AddStep(metrics);
  Print(metrics, tokens, spent);
}

void StepLog::AddSkipped(StepMetrics metrics, int64_t tokens, absl::Duration spent) {
  metrics.tokens_per_second = static_cast<double>(tokens) / absl::ToDoubleSeconds(spent);
  reporter_->AddSkippedStep();
  Record(metrics, 0, /*skipped=*/true);
}

// The speed over all steps since the last line.
void StepLog::Print(const StepMetrics& metrics, int64_t tokens, absl::Duration spent) {
  line_tokens_ += tokens;
  line_masked_tokens_ += static_cast<double>(metrics.masked_tokens);
  ++line_steps_;
  line_spent_ += spent;
  if (metrics.step % options_.log_every_steps != 0 && metrics.step != options_.last_step) return;
  const absl::Duration data_wait = time_->Total(Phase::kDataWait);
  std::string line = absl::StrFormat(
      "step %d/%d loss %.4f lr %.2e grad_norm %.3f tokens/s %.0f data_wait %.0f%%", metrics.step, options_.last_step,
      metrics.loss, metrics.learning_rate, metrics.grad_norm,
      static_cast<double>(line_tokens_) / absl::ToDoubleSeconds(line_spent_),
      100 * absl::FDivDuration(data_wait - line_data_wait_, line_spent_));
  const double mfu = Utilisation(static_cast<double>(line_tokens_), line_masked_tokens_,
                                 static_cast<double>(line_steps_), line_spent_);
  if (mfu > 0) absl::StrAppendFormat(&line, " mfu %.1f%%", 100 * mfu);
  LogInfo(line);
  line_tokens_ = 0;
  line_masked_tokens_ = 0;
  line_steps_ = 0;
  line_spent_ = absl::ZeroDuration();
  line_data_wait_ = data_wait;
}

}  // namespace bert::trainer
