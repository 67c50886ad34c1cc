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

GradientOptions OptionsOf(const JobPlan& plan) {
  return {.global_batch_size = plan.global_batch_size,
          .micro_batch_size = plan.micro_batch_size,
          .max_seq_len = plan.max_seq_len,
          .seed = plan.seed};
}

std::unique_ptr<GradientComputer> MakeGradient(const Training& t) {
  const GradientOptions options = OptionsOf(t.plan);
  if (!t.plan.deterministic) return MakeFlatGradient(&t.model, &t.group, &t.time, options);
  return MakeLaneGradient(&t.model, &t.group, &t.time, options, t.plan.workers_max);
}

absl::StatusOr<sampling::RowBatch> NextRows(BatchSource& source, StepTime& time) {
  const PhaseTimer timer(&time, Phase::kDataWait);
  return source.NextStep();
}

struct StepResult {
  StepMetrics metrics;  // But for its speed.
  bool skipped = false;
};

// Divides, clips and updates, unless loss or gradient are not finite.
StepResult Update(const Training& t, const Schedule& schedule, int64_t step, const StepTotals& totals) {
  const PhaseTimer timer(&t.time, Phase::kOptimizer);
  // A batch in which nothing is masked has no gradient either.
  const double masked_tokens = static_cast<double>(std::max<int64_t>(totals.masked_tokens, 1));
  const double loss = totals.nll / masked_tokens;
  const double norm = GradientNorm(t.model.parameters().grad()) / masked_tokens;
  const double next_sentence_loss = totals.next_sentence_nll / t.plan.global_batch_size;
  const double learning_rate = schedule.LearningRate(step + 1);
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
      .epoch = static_cast<double>(step + 1) * t.plan.global_batch_size /
               static_cast<double>(std::max<int64_t>(t.dataset.train_rows, 1)),
      .time = absl::Now(),
      .next_sentence_loss = t.model.config().next_sentence ? std::optional<double>(next_sentence_loss) : std::nullopt};
  return {.metrics = metrics, .skipped = !finite};
}

// Says where it comes from; an error where there have been too many.
absl::Status Skip(const Training& t, int64_t step, const sampling::RowBatch& rows, SkippedSteps& skipped) {
  ASSIGN_OR_RETURN(const std::string where, FindNotFinite(t.model, t.group, OptionsOf(t.plan), step, rows));
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

// Its loss on all ranks; none where the dataset has no validation split.
absl::StatusOr<std::optional<double>> RunValidation(const Training& t, PredictionSamples& samples,
                                                    int64_t completed_steps) {
  const int64_t rows = ValidationRows(t.plan, t.dataset);
  if (rows == 0) return std::nullopt;
  const absl::Duration start = t.time.Monotonic();
  const PhaseTimer timer(&t.time, Phase::kValidation);
  const ValidationOptions options = {.split_rows = t.dataset.validation_rows,
                                     .rows = rows,
                                     .micro_batch_size = t.plan.micro_batch_size,
                                     .max_seq_len = t.plan.max_seq_len};
  ASSIGN_OR_RETURN(const ValidationMetrics result,
                   Validate(t.model, t.group, t.open_batches, options, completed_steps));
  if (t.group.rank() != 0) return result.loss;
  t.reporter.AddValidation(result);
  LogInfo(absl::StrFormat(
      "validation at step %d/%d loss %.4f perplexity %.2f accuracy %.2f%% (%d masked tokens, %.1f s)%s",
      completed_steps, t.plan.steps, result.loss, result.perplexity, 100 * result.accuracy, result.masked_tokens,
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
      completed_steps, t.plan.steps, t.plan.validation_target_loss);
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
                  .last_step = t.plan.steps,
                  .log_every_steps = t.plan.log_every_steps,
                  .shape = ShapeOf(t.model.config()),
                  .peak_flops = t.peak_flops},
                 &t.time, &t.reporter, t.record);
}

}  // namespace

int64_t ValidationRows(const JobPlan& plan, const DatasetDescription& dataset) {
  if (plan.validation_rows == 0) return dataset.validation_rows;
  return std::min(plan.validation_rows, dataset.validation_rows);
}

absl::StatusOr<TrainingEnd> Train(const Training& t) {
  const JobPlan& plan = t.plan;
  const bool first_rank = t.group.rank() == 0;
  const Schedule schedule = {
      .peak = plan.optimizer.learning_rate, .warmup_steps = plan.optimizer.warmup_steps, .total_steps = plan.steps};
  const std::unique_ptr<GradientComputer> gradient = MakeGradient(t);
  ASSIGN_OR_RETURN(const std::unique_ptr<BatchSource> source,
                   t.open_batches({.split = Split::kTrain,
                                   .global_rows = plan.global_batch_size,
                                   .row_begin = static_cast<int32_t>(gradient->rows().begin),
                                   .row_end = static_cast<int32_t>(gradient->rows().end),
                                   .first_step = t.first_step,
                                   .last_step = plan.steps,
                                   .split_rows = 0}));
  t.reporter.SetCompletedSteps(t.first_step);
  StepLog log = MakeStepLog(t);
  PredictionSamples samples(t.dataset, first_rank ? plan.validation_samples : 0, plan.max_seq_len);
  SkippedSteps skipped(plan.nonfinite_steps_max);
  bool checkpoint_due = false;
  // Fewer than planned where the target is reached.
  int64_t last_step = plan.steps;

  for (int64_t step = t.first_step; step < plan.steps; ++step) {
    const absl::Duration start = t.time.Monotonic();
    ASSIGN_OR_RETURN(const sampling::RowBatch rows, NextRows(*source, t.time));
    ASSIGN_OR_RETURN(const StepTotals totals, gradient->Compute(step, rows, t.reporter.StopRequested()));
    const StepResult result = Update(t, schedule, step, totals);
    const absl::Duration spent = t.time.Monotonic() - start;
    const int64_t completed = step + 1;

    t.reporter.SetCompletedSteps(completed);
    const StepLog::Work work = {.rows = plan.global_batch_size, .tokens = totals.tokens, .spent = spent};
    if (result.skipped) {
      log.AddSkipped(result.metrics, work);
      RETURN_IF_ERROR(Skip(t, step, rows, skipped));
    } else {
      log.Add(result.metrics, work);
      skipped.Completed();
    }
    if (totals.stop) {
      if (first_rank) LogInfo(absl::StrFormat("stopped after step %d/%d as told", completed, plan.steps));
      return TrainingEnd::kStopped;
    }
    if (completed == plan.steps) break;
    // Before the checkpoint: a job that resumes behind this step does not validate it again.
    if (plan.validation_every_steps > 0 && completed % plan.validation_every_steps == 0) {
      ASSIGN_OR_RETURN(const std::optional<double> loss, RunValidation(t, samples, completed));
      if (loss.has_value() && *loss <= plan.validation_target_loss) {
        last_step = completed;
        EndEarly(t, completed, *loss);
        break;
      }
    }
    // A checkpoint that is due while the last one is still being written is taken as soon as that is done.
    checkpoint_due |= completed % plan.checkpoint_every_steps == 0;
    if (t.checkpoints != nullptr && checkpoint_due && t.checkpoints->Idle()) {
      StartCheckpoint(t, completed);
      checkpoint_due = false;
    }
  }

  if (t.checkpoints != nullptr && t.first_step < plan.steps) {
    // What the one before it came to has been said; the last one counts.
    t.checkpoints->Wait().IgnoreError();
    StartCheckpoint(t, last_step);
  }
  if (last_step == plan.steps) RETURN_IF_ERROR(RunValidation(t, samples, plan.steps).status());
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
