#include "worker/trainer/training_loop.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "worker/trainer/gradient.h"
#include "worker/trainer/log_line.h"
#include "worker/trainer/schedule.h"
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

std::unique_ptr<GradientComputer> MakeGradient(const Training& t) {
  const GradientOptions options = {.global_batch_size = t.plan.global_batch_size,
                                   .micro_batch_size = t.plan.micro_batch_size,
                                   .max_seq_len = t.plan.max_seq_len,
                                   .seed = t.plan.seed};
  if (!t.plan.deterministic) return MakeFlatGradient(&t.model, &t.group, &t.time, options);
  return MakeLaneGradient(&t.model, &t.group, &t.time, options, t.plan.workers_max);
}

absl::StatusOr<sampling::RowBatch> NextRows(BatchSource& source, StepTime& time) {
  const PhaseTimer timer(&time, Phase::kDataWait);
  return source.NextStep();
}

// Divides, clips and updates: the step's metrics but for its speed.
absl::StatusOr<StepMetrics> Update(const Training& t, const Schedule& schedule, int64_t step,
                                   const StepTotals& totals) {
  const PhaseTimer timer(&t.time, Phase::kOptimizer);
  // A batch in which nothing is masked has no gradient either.
  const double masked_tokens = static_cast<double>(std::max<int64_t>(totals.masked_tokens, 1));
  const double loss = totals.nll / masked_tokens;
  const double norm = GradientNorm(t.model.parameters().grad()) / masked_tokens;
  if (!std::isfinite(loss) || !std::isfinite(norm)) {
    return absl::InternalError(absl::StrFormat(
        "rank %d, step %d: loss %g and gradient norm %g are not finite; a lower train.optimizer.learning_rate or a "
        "longer warmup_steps may help",
        t.group.rank(), step + 1, loss, norm));
  }
  const double clip = t.plan.optimizer.max_grad_norm;
  const double scale = clip > 0 && norm > clip ? clip / norm : 1.0;
  const double learning_rate = schedule.LearningRate(step + 1);
  t.optimizer.Step({.step = step + 1, .learning_rate = learning_rate, .gradient_scale = scale / masked_tokens});
  return StepMetrics{.step = step + 1,
                     .loss = loss,
                     .learning_rate = learning_rate,
                     .grad_norm = norm,
                     .tokens_per_second = 0,
                     .masked_tokens = totals.masked_tokens,
                     .epoch = static_cast<double>(step + 1) * t.plan.global_batch_size /
                              static_cast<double>(std::max<int64_t>(t.dataset.train_rows, 1)),
                     .time = absl::Now()};
}

absl::Status RunValidation(const Training& t, int64_t completed_steps) {
  const int64_t rows = ValidationRows(t.plan, t.dataset);
  if (rows == 0) return absl::OkStatus();
  const absl::Duration start = t.time.Monotonic();
  const PhaseTimer timer(&t.time, Phase::kValidation);
  const ValidationOptions options = {.split_rows = t.dataset.validation_rows,
                                     .rows = rows,
                                     .micro_batch_size = t.plan.micro_batch_size,
                                     .max_seq_len = t.plan.max_seq_len};
  ASSIGN_OR_RETURN(const ValidationMetrics result,
                   Validate(t.model, t.group, t.open_batches, options, completed_steps));
  if (t.group.rank() != 0) return absl::OkStatus();
  t.reporter.AddValidation(result);
  if (t.record != nullptr) {
    t.record->Add(record::ValidationPoint{.step = result.step,
                                          .loss = result.loss,
                                          .perplexity = result.perplexity,
                                          .accuracy = result.accuracy,
                                          .masked_tokens = result.masked_tokens,
                                          .predictions = "",
                                          .time = absl::Now()});
  }
  LogInfo(
      absl::StrFormat("validation at step %d/%d loss %.4f perplexity %.2f accuracy %.2f%% (%d masked tokens, %.1f s)",
                      completed_steps, t.plan.steps, result.loss, result.perplexity, 100 * result.accuracy,
                      result.masked_tokens, absl::ToDoubleSeconds(t.time.Monotonic() - start)));
  return absl::OkStatus();
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
  bool checkpoint_due = false;

  for (int64_t step = t.first_step; step < plan.steps; ++step) {
    const absl::Duration start = t.time.Monotonic();
    ASSIGN_OR_RETURN(const sampling::RowBatch rows, NextRows(*source, t.time));
    ASSIGN_OR_RETURN(const StepTotals totals, gradient->Compute(step, rows, t.reporter.StopRequested()));
    ASSIGN_OR_RETURN(const StepMetrics metrics, Update(t, schedule, step, totals));
    const absl::Duration spent = t.time.Monotonic() - start;
    const int64_t completed = step + 1;

    t.reporter.SetCompletedSteps(completed);
    log.Add(metrics, {.rows = plan.global_batch_size, .tokens = totals.tokens, .spent = spent});
    if (totals.stop) {
      if (first_rank) LogInfo(absl::StrFormat("stopped after step %d/%d as told", completed, plan.steps));
      return TrainingEnd::kStopped;
    }
    if (completed == plan.steps) break;
    // Before the checkpoint: a job that resumes behind this step does not validate it again.
    if (plan.validation_every_steps > 0 && completed % plan.validation_every_steps == 0) {
      RETURN_IF_ERROR(RunValidation(t, completed));
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
    StartCheckpoint(t, plan.steps);
  }
  RETURN_IF_ERROR(RunValidation(t, plan.steps));
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
