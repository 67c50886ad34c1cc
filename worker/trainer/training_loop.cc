#include "worker/trainer/training_loop.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "worker/trainer/gradient.h"
#include "worker/trainer/log_line.h"
#include "worker/trainer/schedule.h"
#include "worker/trainer/validation.h"

namespace bert::trainer {
namespace {

// How long an ended training waits for the coordinator to hear of its last steps.
constexpr absl::Duration kFlushTimeout = absl::Minutes(1);

std::unique_ptr<GradientComputer> MakeGradient(const Training& t, const Stretch& stretch) {
  const PhasePlan& phase = t.steps.phases[stretch.phase];
  const GradientOptions options = {.global_batch_size = stretch.global_batch_size,
                                   .micro_batch_size = phase.micro_batch_size,
                                   .max_seq_len = phase.max_seq_len,
                                   .seed = t.plan.seed};
  if (!t.plan.deterministic) return MakeFlatGradient(&t.model, &t.group, &t.time, options);
  return MakeLaneGradient(&t.model, &t.group, &t.time, options, t.plan.workers_max);
}

absl::StatusOr<sampling::RowBatch> NextRows(BatchSource& source, StepTime& time) {
  const PhaseTimer timer(&time, Phase::kDataWait);
  return source.NextStep();
}

Schedule ScheduleOf(const Training& t) {
  return {.peak = t.plan.optimizer.learning_rate,
          .warmup_steps = t.steps.warmup_steps,
          .total_steps = t.steps.total_steps,
          .decay = t.plan.optimizer.decay,
          .final_share = t.plan.optimizer.final_share};
}

// Divides, clips and updates: the step's metrics but for its speed.
absl::StatusOr<StepMetrics> Update(const Training& t, const Stretch& stretch, int64_t step, const StepTotals& totals) {
  const PhaseTimer timer(&t.time, Phase::kOptimizer);
  // A batch in which nothing is masked has no gradient either.
  const double masked_tokens = static_cast<double>(std::max<int64_t>(totals.masked_tokens, 1));
  const double loss = totals.nll / masked_tokens;
  const double norm = GradientNorm(t.model.parameters().grad()) / masked_tokens;
  const double next_sentence_loss = totals.next_sentence_nll / stretch.global_batch_size;
  if (!std::isfinite(loss + next_sentence_loss) || !std::isfinite(norm)) {
    return absl::InternalError(absl::StrFormat(
        "rank %d, step %d: loss %g and gradient norm %g are not finite; a lower train.optimizer.learning_rate or a "
        "longer warmup_steps may help",
        t.group.rank(), step + 1, loss + next_sentence_loss, norm));
  }
  const double clip = t.plan.optimizer.max_grad_norm;
  const double scale = clip > 0 && norm > clip ? clip / norm : 1.0;
  const double learning_rate = ScheduleOf(t).LearningRate(step + 1) * t.steps.phases[stretch.phase].learning_rate_scale;
  t.optimizer.Step({.step = step + 1, .learning_rate = learning_rate, .gradient_scale = scale / masked_tokens});
  return StepMetrics{
      .step = step + 1,
      .loss = loss,
      .learning_rate = learning_rate,
      .grad_norm = norm,
      .tokens_per_second = 0,
      .masked_tokens = totals.masked_tokens,
      .epoch = t.steps.EpochsAfter(step + 1),
      .time = absl::Now(),
      .total_steps = t.steps.total_steps,
      .next_sentence_loss = t.model.config().next_sentence ? std::optional<double>(next_sentence_loss) : std::nullopt};
}

// With the rows of the last completed step's phase.
absl::Status RunValidation(const Training& t, int64_t completed_steps) {
  const int32_t phase_number = t.steps.At(completed_steps - 1).phase;
  const PhasePlan& phase = t.steps.phases[phase_number];
  const int64_t split_rows = t.steps.rows[phase_number].validation;
  const int64_t rows = ValidationRows(t.plan, split_rows);
  if (rows == 0) return absl::OkStatus();
  const absl::Duration start = t.time.Monotonic();
  const PhaseTimer timer(&t.time, Phase::kValidation);
  const ValidationOptions options = {.phase = phase_number,
                                     .split_rows = split_rows,
                                     .rows = rows,
                                     .micro_batch_size = phase.micro_batch_size,
                                     .max_seq_len = phase.max_seq_len};
  ASSIGN_OR_RETURN(const ValidationMetrics result,
                   Validate(t.model, t.group, t.open_batches, options, completed_steps));
  if (t.group.rank() != 0) return absl::OkStatus();
  t.reporter.AddValidation(result);
  LogInfo(absl::StrFormat(
      "validation at step %d/%d loss %.4f perplexity %.2f accuracy %.2f%% (%d masked tokens, %.1f s)%s",
      completed_steps, t.steps.total_steps, result.loss, result.perplexity, 100 * result.accuracy, result.masked_tokens,
      absl::ToDoubleSeconds(t.time.Monotonic() - start),
      result.next_sentence ? absl::StrFormat(" next_sentence_loss %.4f next_sentence_accuracy %.2f%%",
                                             result.next_sentence->loss, 100 * result.next_sentence->accuracy)
                           : ""));
  return absl::OkStatus();
}

void StartCheckpoint(const Training& t, int64_t completed_steps) {
  const PhaseTimer timer(&t.time, Phase::kCheckpoint);
  TrainingState state = t.state;
  state.step = completed_steps;
  t.checkpoints->Start(state, {t.model.parameters().master(), t.optimizer.exp_avg(), t.optimizer.exp_avg_sq()});
}

// One progress line per interval of steps, with the speed over all of it.
class ProgressLine {
 public:
  explicit ProgressLine(const Training& training) : t_(training), data_wait_(training.time.Total(Phase::kDataWait)) {}

  void Add(const StepMetrics& metrics, int64_t tokens, absl::Duration spent) {
    tokens_ += tokens;
    spent_ += spent;
    if (metrics.step % t_.plan.log_every_steps != 0 && metrics.step != t_.steps.total_steps) return;
    const absl::Duration data_wait = t_.time.Total(Phase::kDataWait);
    LogInfo(absl::StrFormat(
        "step %d/%d loss %.4f%s lr %.2e grad_norm %.3f tokens/s %.0f data_wait %.0f%%", metrics.step,
        t_.steps.total_steps, metrics.loss,
        metrics.next_sentence_loss ? absl::StrFormat(" next_sentence_loss %.4f", *metrics.next_sentence_loss) : "",
        metrics.learning_rate, metrics.grad_norm, static_cast<double>(tokens_) / absl::ToDoubleSeconds(spent_),
        100 * absl::FDivDuration(data_wait - data_wait_, spent_)));
    tokens_ = 0;
    spent_ = absl::ZeroDuration();
    data_wait_ = data_wait;
  }

 private:
  const Training& t_;
  int64_t tokens_ = 0;
  absl::Duration spent_;
  absl::Duration data_wait_;
};

// The steps of one stretch after the other, and what comes between them.
class StepLoop {
 public:
  explicit StepLoop(const Training& training) : t_(training), line_(training) {}

  // From the stretch's first step, or from the training's where that lies within.
  absl::StatusOr<TrainingEnd> Run(const Stretch& stretch) {
    const std::unique_ptr<GradientComputer> gradient = MakeGradient(t_, stretch);
    const int64_t first_step = std::max(stretch.first_step, t_.first_step);
    ASSIGN_OR_RETURN(const std::unique_ptr<BatchSource> source,
                     t_.open_batches({.split = Split::kTrain,
                                      .phase = stretch.phase,
                                      .first_row = stretch.first_row,
                                      .global_rows = stretch.global_batch_size,
                                      .row_begin = static_cast<int32_t>(gradient->rows().begin),
                                      .row_end = static_cast<int32_t>(gradient->rows().end),
                                      .first_step = first_step - stretch.first_step,
                                      .last_step = stretch.last_step - stretch.first_step,
                                      .split_rows = 0}));
    for (int64_t step = first_step; step < stretch.last_step; ++step) {
      ASSIGN_OR_RETURN(const bool stop, RunStep(stretch, step, *source, *gradient));
      const int64_t completed = step + 1;
      if (stop) {
        if (t_.group.rank() == 0) {
          LogInfo(absl::StrFormat("stopped after step %d/%d as told", completed, t_.steps.total_steps));
        }
        return TrainingEnd::kStopped;
      }
      if (completed < t_.steps.total_steps) RETURN_IF_ERROR(BetweenSteps(completed));
    }
    return TrainingEnd::kDone;
  }

 private:
  // True where some rank was told to stop.
  absl::StatusOr<bool> RunStep(const Stretch& stretch, int64_t step, BatchSource& source, GradientComputer& gradient) {
    const absl::Duration start = t_.time.Monotonic();
    ASSIGN_OR_RETURN(const sampling::RowBatch rows, NextRows(source, t_.time));
    ASSIGN_OR_RETURN(const StepTotals totals, gradient.Compute(step, rows, t_.reporter.StopRequested()));
    ASSIGN_OR_RETURN(StepMetrics metrics, Update(t_, stretch, step, totals));
    const absl::Duration spent = t_.time.Monotonic() - start;
    t_.reporter.SetCompletedSteps(step + 1);
    if (t_.group.rank() == 0) {
      metrics.tokens_per_second = static_cast<double>(totals.tokens) / absl::ToDoubleSeconds(spent);
      t_.reporter.AddStep(metrics);
      line_.Add(metrics, totals.tokens, spent);
    }
    return totals.stop;
  }

  absl::Status BetweenSteps(int64_t completed) {
    const JobPlan& plan = t_.plan;
    // Before the checkpoint: a job that resumes behind this step does not validate it again.
    if (plan.validation_every_steps > 0 && completed % plan.validation_every_steps == 0) {
      RETURN_IF_ERROR(RunValidation(t_, completed));
    }
    // A checkpoint that is due while the last one is still being written is taken as soon as that is done.
    checkpoint_due_ |= completed % plan.checkpoint_every_steps == 0;
    if (t_.checkpoints != nullptr && checkpoint_due_ && t_.checkpoints->Idle()) {
      StartCheckpoint(t_, completed);
      checkpoint_due_ = false;
    }
    return absl::OkStatus();
  }

  const Training& t_;
  ProgressLine line_;
  bool checkpoint_due_ = false;
};

}  // namespace

int64_t ValidationRows(const JobPlan& plan, int64_t validation_rows) {
  return plan.validation_rows == 0 ? validation_rows : std::min(plan.validation_rows, validation_rows);
}

absl::StatusOr<TrainingEnd> Train(const Training& t) {
  const int64_t total_steps = t.steps.total_steps;
  t.reporter.SetCompletedSteps(t.first_step);
  StepLoop loop(t);
  for (const Stretch& stretch : t.steps.stretches) {
    if (stretch.last_step <= t.first_step) continue;
    ASSIGN_OR_RETURN(const TrainingEnd end, loop.Run(stretch));
    if (end == TrainingEnd::kStopped) return end;
  }

  if (t.checkpoints != nullptr && t.first_step < total_steps) {
    // What the one before it came to has been said; the last one counts.
    t.checkpoints->Wait().IgnoreError();
    StartCheckpoint(t, total_steps);
  }
  RETURN_IF_ERROR(RunValidation(t, total_steps));
  if (t.checkpoints != nullptr) {
    RETURN_IF_ERROR(Annotate(t.checkpoints->Wait(), "trained to the end, but the last checkpoint is not saved"));
  }
  if (const absl::Status flushed = t.reporter.Flush(kFlushTimeout); !flushed.ok()) {
    LogWarning(flushed.message());
  }
  return TrainingEnd::kDone;
}

}  // namespace bert::trainer
