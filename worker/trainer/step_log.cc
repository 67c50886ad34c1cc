#include "worker/trainer/step_log.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_format.h"
#include "worker/trainer/log_line.h"

namespace bert::trainer {
namespace {

double Rate(const StepLog::Work& work) {
  return static_cast<double>(work.tokens) / absl::ToDoubleSeconds(std::max(work.spent, absl::Nanoseconds(1)));
}

}  // namespace

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
double StepLog::Utilisation(const Work& work, int64_t masked_tokens) const {
  if (options_.peak_flops <= 0 || work.spent <= absl::ZeroDuration()) return 0;
  const double flops = estimate::TrainFlops(options_.shape, {.rows = static_cast<double>(work.rows),
                                                             .tokens = static_cast<double>(work.tokens),
                                                             .masked_tokens = static_cast<double>(masked_tokens)});
  return flops / absl::ToDoubleSeconds(work.spent) / (options_.peak_flops * options_.world_size);
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
                                 .next_sentence_loss = metrics.next_sentence_loss,
                                 .learning_rate = metrics.learning_rate,
                                 .grad_norm = metrics.grad_norm,
                                 .tokens_per_second = metrics.tokens_per_second,
                                 .mfu = mfu,
                                 .data_wait = waits.data,
                                 .checkpoint_stall = waits.checkpoint,
                                 .skipped = skipped,
                                 .time = metrics.time});
}

void StepLog::Add(StepMetrics metrics, const Work& work) {
  metrics.tokens_per_second = Rate(work);
  const double mfu = Utilisation(work, metrics.masked_tokens);
  reporter_->AddRates({.tokens_per_second = metrics.tokens_per_second / options_.world_size, .mfu = mfu}, work.spent);
  Record(metrics, mfu, /*skipped=*/false);
  if (options_.rank != 0) return;
  reporter_->AddStep(metrics);
  Print(metrics, work);
}

void StepLog::AddSkipped(StepMetrics metrics, const Work& work) {
  metrics.tokens_per_second = Rate(work);
  reporter_->AddSkippedStep();
  Record(metrics, 0, /*skipped=*/true);
}

// The speed over all steps since the last line.
void StepLog::Print(const StepMetrics& metrics, const Work& work) {
  line_work_.rows += work.rows;
  line_work_.tokens += work.tokens;
  line_work_.spent += work.spent;
  line_masked_tokens_ += metrics.masked_tokens;
  if (metrics.step % options_.log_every_steps != 0 && metrics.step != options_.last_step) return;
  const absl::Duration data_wait = time_->Total(Phase::kDataWait);
  std::string line = absl::StrFormat(
      "step %d/%d loss %.4f%s lr %.2e grad_norm %.3f tokens/s %.0f data_wait %.0f%%", metrics.step, options_.last_step,
      metrics.loss,
      metrics.next_sentence_loss ? absl::StrFormat(" next_sentence_loss %.4f", *metrics.next_sentence_loss) : "",
      metrics.learning_rate, metrics.grad_norm, Rate(line_work_),
      100 * absl::FDivDuration(data_wait - line_data_wait_, line_work_.spent));
  const double mfu = Utilisation(line_work_, line_masked_tokens_);
  if (mfu > 0) absl::StrAppendFormat(&line, " mfu %.1f%%", 100 * mfu);
  LogInfo(line);
  line_work_ = {};
  line_masked_tokens_ = 0;
  line_data_wait_ = data_wait;
}

}  // namespace bert::trainer
