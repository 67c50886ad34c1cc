#include "worker/trainer/training_loop.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "worker/trainer/gradient.h"
#include "worker/trainer/log_line.h"
#include "worker/trainer/prediction_samples.h"
#include "worker/trainer/schedule.h"
#include "worker/trainer/skipped_steps.h"
#include "worker/trainer/step_log.h"
#include "worker/trainer/validation.h"

namespace bert::trainer {
namespace {

// How long an ended training waits for the coordinator to hear of its last steps.
constexpr absl::Duration kFlushTimeout = absl::Minutes(1);

estimate::ModelShape ShapeOf(const model::ModelConfig& config) {
  return {.vocab_size = config.vocab_size,
          .hidden_size = config.hidden_size,
          .num_hidden_layers = config.num_hidden_layers,
          .num_attention_heads = config.num_attention_heads,
          .intermediate_size = config.intermediate_size,
          .max_position_embeddings = config.max_position_embeddings,
          .type_vocab_size = config.type_vocab_size};
}

GradientOptions OptionsOf(const Training& t, const Stretch& stretch) {
  const PhasePlan& phase = t.steps.phases[stretch.phase];
  return {.global_batch_size = stretch.global_batch_size,
          .micro_batch_size = phase.micro_batch_size,
          .max_seq_len = phase.max_seq_len,
          .seed = t.plan.seed};
}

std::unique_ptr<GradientComputer> MakeGradient(const Training& t, const Stretch& stretch) {
  const GradientOptions options = OptionsOf(t, stretch);
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

struct StepResult {
  StepMetrics metrics;  // But for its speed.
  bool skipped = false;
};

// Divides, clips and updates, unless loss or gradient are not finite.
StepResult Update(const Training& t, const Stretch& stretch, int64_t step, const StepTotals& totals) {
  const PhaseTimer timer(&t.time, Phase::kOptimizer);
  // A batch in which nothing is masked has no gradient either.
  const double masked_tokens = static_cast<double>(std::max<int64_t>(totals.masked_tokens, 1));
  const double loss = totals.nll / masked_tokens;
  const double norm = GradientNorm(t.model.parameters().grad()) / masked_tokens;
  const double next_sentence_loss = totals.next_sentence_nll / stretch.global_batch_size;
  const double learning_rate = ScheduleOf(t).LearningRate(step + 1) * t.steps.phases[stretch.phase].learning_rate_scale;
  const bool finite = std::isfinite(loss + next_sentence_loss) && std::isfinite(norm);
  if (finite) {
    const double clip = t.plan.optimizer.max_grad_norm;
    const double scale = clip > 0 && norm > clip ? clip / norm : 1.0;
    t.optimizer.Step({.step = step + 1, .learning_rate = learning_rate, .gradient_scale = scale / masked_tokens});
  }
  const StepMetrics metrics = {
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
  return {.metrics = metrics, .skipped = !finite};
}

// Says where it comes from; an error where there have been too many.
absl::Status Skip(const Training& t, const Stretch& stretch, int64_t step, const sampling::RowBatch& rows,
                  SkippedSteps& skipped) {
  ASSIGN_OR_RETURN(const std::string where, FindNotFinite(t.model, t.group, OptionsOf(t, stretch), step, rows));
  if (t.group.rank() == 0) {
    LogWarning(absl::StrFormat("step %d is skipped and changes nothing, for it is not finite: %s", step + 1, where));
  }
  return skipped.Skipped(step + 1, where);
}

record::ValidationPoint PointOf(const ValidationMetrics& result, std::string predictions) {
  record::ValidationPoint point = {.step = result.step,
                                   .loss = result.loss,
                                   .perplexity = result.perplexity,
                                   .accuracy = result.accuracy,
                                   .masked_tokens = result.masked_tokens,
                                   .predictions = std::move(predictions),
                                   .time = absl::Now()};
  if (result.next_sentence) {
    point.next_sentence_loss = result.next_sentence->loss;
    point.next_sentence_accuracy = result.next_sentence->accuracy;
  }
  return point;
}

// With the rows of the last completed step's phase. Its loss on all ranks; none where the dataset has no validation
// split.
absl::StatusOr<std::optional<double>> RunValidation(const Training& t, PredictionSamples& samples,
                                                    int64_t completed_steps) {
  const int32_t phase_number = t.steps.At(completed_steps - 1).phase;
  const PhasePlan& phase = t.steps.phases[phase_number];
  const int64_t split_rows = t.steps.rows[phase_number].validation;
  const int64_t rows = ValidationRows(t.plan, split_rows);
  if (rows == 0) return std::nullopt;
  const absl::Duration start = t.time.Monotonic();
  const PhaseTimer timer(&t.time, Phase::kValidation);
  const ValidationOptions options = {.phase = phase_number,
                                     .split_rows = split_rows,
                                     .rows = rows,
                                     .micro_batch_size = phase.micro_batch_size,
                                     .max_seq_len = phase.max_seq_len};
  ASSIGN_OR_RETURN(const ValidationMetrics result,
                   Validate(t.model, t.group, t.open_batches, options, completed_steps));
  if (t.group.rank() != 0) return result.loss;
  t.reporter.AddValidation(result);
  LogInfo(absl::StrFormat(
      "validation at step %d/%d loss %.4f perplexity %.2f accuracy %.2f%% (%d masked tokens, %.1f s)%s",
      completed_steps, t.steps.total_steps, result.loss, result.perplexity, 100 * result.accuracy, result.masked_tokens,
      absl::ToDoubleSeconds(t.time.Monotonic() - start),
      result.next_sentence ? absl::StrFormat(" next_sentence_loss %.4f next_sentence_accuracy %.2f%%",
                                             result.next_sentence->loss, 100 * result.next_sentence->accuracy)
                           : ""));
  ASSIGN_OR_RETURN(std::string predictions, samples.Show(t.model, t.open_batches));
  if (t.record != nullptr) t.record->Add(PointOf(result, std::move(predictions)));
  return result.loss;
}

void EndEarly(const Training& t, int64_t completed_steps, double loss) {
  if (t.group.rank() != 0) return;
  const std::string why = absl::StrFormat(
      "the validation loss %.4f at step %d/%d has reached validation.target_loss %g: the training ends here", loss,
      completed_steps, t.steps.total_steps, t.plan.validation_target_loss);
  LogInfo(why);
  t.reporter.SetEarlyEnd(why);
}

void StartCheckpoint(const Training& t, int64_t completed_steps) {
  const PhaseTimer timer(&t.time, Phase::kCheckpoint);
  TrainingState state = t.state;
  state.step = completed_steps;
  t.checkpoints->Start(state, {t.model.parameters().master(), t.optimizer.exp_avg(), t.optimizer.exp_avg_sq()});
}

StepLog MakeStepLog(const Training& t) {
  return StepLog({.rank = t.group.rank(),
                  .world_size = t.group.world_size(),
                  .last_step = t.steps.total_steps,
                  .log_every_steps = t.plan.log_every_steps,
                  .shape = ShapeOf(t.model.config()),
                  .peak_flops = t.peak_flops},
                 &t.time, &t.reporter, t.record);
}

// The steps of one stretch after the other, and what comes between them.
class StepLoop {
 public:
  explicit StepLoop(const Training& training)
      : t_(training),
        log_(MakeStepLog(training)),
        samples_(training.dataset, training.group.rank() == 0 ? training.plan.validation_samples : 0,
                 training.steps.phases.front().max_seq_len),
        skipped_(training.plan.nonfinite_steps_max) {}

  // Whether the target loss was reached, after last_step() steps.
  bool ended_early() const { return ended_early_; }
  // Completed steps of the whole training, once every stretch has been run or it has ended early.
  int64_t last_step() const { return last_step_; }

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
      last_step_ = completed;
      if (completed < t_.steps.total_steps) RETURN_IF_ERROR(BetweenSteps(completed));
      if (ended_early_) break;
    }
    return TrainingEnd::kDone;
  }

  // After `completed` steps: its loss on all ranks; none where the dataset has no validation split.
  absl::StatusOr<std::optional<double>> Validate(int64_t completed) { return RunValidation(t_, samples_, completed); }

 private:
  // True where some rank was told to stop.
  absl::StatusOr<bool> RunStep(const Stretch& stretch, int64_t step, BatchSource& source, GradientComputer& gradient) {
    const absl::Duration start = t_.time.Monotonic();
    ASSIGN_OR_RETURN(const sampling::RowBatch rows, NextRows(source, t_.time));
    ASSIGN_OR_RETURN(const StepTotals totals, gradient.Compute(step, rows, t_.reporter.StopRequested()));
    const StepResult result = Update(t_, stretch, step, totals);
    const absl::Duration spent = t_.time.Monotonic() - start;
    t_.reporter.SetCompletedSteps(step + 1);
    const StepLog::Work work = {.rows = stretch.global_batch_size, .tokens = totals.tokens, .spent = spent};
    if (result.skipped) {
      log_.AddSkipped(result.metrics, work);
      RETURN_IF_ERROR(Skip(t_, stretch, step, rows, skipped_));
    } else {
      log_.Add(result.metrics, work);
      skipped_.Completed();
    }
    return totals.stop;
  }

  absl::Status BetweenSteps(int64_t completed) {
    const JobPlan& plan = t_.plan;
    // Before the checkpoint: a job that resumes behind this step does not validate it again.
    if (plan.validation_every_steps > 0 && completed % plan.validation_every_steps == 0) {
      ASSIGN_OR_RETURN(const std::optional<double> loss, Validate(completed));
      if (loss.has_value() && *loss <= plan.validation_target_loss) {
        EndEarly(t_, completed, *loss);
        ended_early_ = true;
        return absl::OkStatus();
      }
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
  StepLog log_;
  PredictionSamples samples_;
  SkippedSteps skipped_;
  bool checkpoint_due_ = false;
  bool ended_early_ = false;
  int64_t last_step_ = 0;
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
    if (loop.ended_early()) break;
  }

  if (t.checkpoints != nullptr && t.first_step < total_steps) {
    // What the one before it came to has been said; the last one counts.
    t.checkpoints->Wait().IgnoreError();
    StartCheckpoint(t, loop.last_step());
  }
  if (!loop.ended_early()) RETURN_IF_ERROR(loop.Validate(total_steps).status());
  if (t.checkpoints != nullptr) {
    RETURN_IF_ERROR(Annotate(t.checkpoints->Wait(), "trained to the end, but the last checkpoint is not saved"));
  }
  if (const absl::Status flushed = t.reporter.Flush(kFlushTimeout); !flushed.ok()) {
    LogWarning(flushed.message());
  }
  if (t.record != nullptr) {
    if (const absl::Status drawn = t.record->Finish(kFlushTimeout); !drawn.ok()) LogWarning(drawn.message());
  }
  return TrainingEnd::kDone;
}

}  // namespace bert::trainer
