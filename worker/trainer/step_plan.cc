#include "worker/trainer/step_plan.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace bert::trainer {
namespace {

constexpr int64_t kStepsMax = 1'000'000'000;

int64_t Rounded(double share, int64_t steps) {
  return std::clamp<int64_t>(std::llround(share * static_cast<double>(steps)), 0, steps);
}

// Where each phase ends.
std::vector<int64_t> PhaseEnds(const std::vector<PhasePlan>& phases, int64_t steps) {
  std::vector<int64_t> ends;
  double share = 0;
  int64_t counted = 0;
  for (const PhasePlan& phase : phases) {
    share += phase.share;
    counted += phase.steps;
    ends.push_back(phase.steps > 0 ? std::min(counted, steps) : Rounded(share, steps));
  }
  ends.back() = steps;
  return ends;
}

// The batch size of stage `stage`, where `stages` and all after it have the phase's own.
int32_t BatchAt(const BatchRampPlan& ramp, int32_t stage, int32_t full) {
  if (ramp.start == 0 || stage >= ramp.stages) return full;
  const double grown = static_cast<double>(full - ramp.start) * stage / ramp.stages;
  return ramp.start + static_cast<int32_t>(std::llround(grown));
}

// All stretches of a training of so many steps.
std::vector<Stretch> Cut(const std::vector<PhasePlan>& phases, const BatchRampPlan& ramp, int64_t steps) {
  const std::vector<int64_t> phase_ends = PhaseEnds(phases, steps);
  std::vector<int64_t> stage_ends;
  for (int32_t stage = 1; ramp.start > 0 && stage <= ramp.stages; ++stage) {
    stage_ends.push_back(Rounded(ramp.share * stage / ramp.stages, steps));
  }
  std::vector<Stretch> stretches;
  std::map<int32_t, int64_t> rows_read;  // By length.
  size_t phase = 0;
  size_t stage = 0;
  for (int64_t step = 0; step < steps;) {
    while (phase_ends[phase] <= step) ++phase;
    while (stage < stage_ends.size() && stage_ends[stage] <= step) ++stage;
    const int64_t end = stage < stage_ends.size() ? std::min(phase_ends[phase], stage_ends[stage]) : phase_ends[phase];
    const PhasePlan& plan = phases[phase];
    const int32_t batch = BatchAt(ramp, static_cast<int32_t>(stage), plan.global_batch_size);
    int64_t& read = rows_read[plan.max_seq_len];
    stretches.push_back({.phase = static_cast<int32_t>(phase),
                         .first_step = step,
                         .last_step = end,
                         .global_batch_size = batch,
                         .first_row = read});
    read += (end - step) * batch;
    step = end;
  }
  return stretches;
}

// Whether so many steps come to the duration.
bool Suffices(const JobPlan& plan, const std::vector<PhasePlan>& phases, const std::vector<PhaseRows>& rows,
              int64_t steps) {
  double total_rows = 0;
  double tokens = 0;
  double epochs = 0;
  for (const Stretch& stretch : Cut(phases, plan.batch_ramp, steps)) {
    const auto read = static_cast<double>((stretch.last_step - stretch.first_step) * stretch.global_batch_size);
    total_rows += read;
    tokens += read * phases[stretch.phase].max_seq_len;
    epochs += read / static_cast<double>(std::max<int64_t>(rows[stretch.phase].train, 1));
  }
  const DurationPlan& wanted = plan.duration;
  // A hair less, for sums of quotients.
  return total_rows >= static_cast<double>(wanted.rows) && tokens >= static_cast<double>(wanted.tokens) &&
         epochs >= wanted.epochs * (1 - 1e-12);
}

absl::StatusOr<int64_t> TotalSteps(const JobPlan& plan, const std::vector<PhasePlan>& phases,
                                   const std::vector<PhaseRows>& rows) {
  if (plan.steps > 0) return plan.steps;
  int64_t suffices = 1;
  while (suffices <= kStepsMax && !Suffices(plan, phases, rows, suffices)) suffices *= 2;
  if (suffices > kStepsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("train.duration comes to more than ", kStepsMax, " steps; give a shorter one"));
  }
  int64_t too_few = suffices / 2;
  while (suffices - too_few > 1) {
    const int64_t middle = too_few + (suffices - too_few) / 2;
    (Suffices(plan, phases, rows, middle) ? suffices : too_few) = middle;
  }
  return suffices;
}

}  // namespace

const Stretch& StepPlan::At(int64_t step) const {
  for (const Stretch& stretch : stretches) {
    if (step < stretch.last_step) return stretch;
  }
  BERT_CHECK(!stretches.empty() && step == total_steps) << "step " << step << " of " << total_steps;
  return stretches.back();
}

double StepPlan::EpochsAfter(int64_t steps) const {
  double epochs = 0;
  for (const Stretch& stretch : stretches) {
    const int64_t done = std::clamp<int64_t>(steps - stretch.first_step, 0, stretch.last_step - stretch.first_step);
    epochs += static_cast<double>(done * stretch.global_batch_size) /
              static_cast<double>(std::max<int64_t>(rows[stretch.phase].train, 1));
  }
  return epochs;
}

std::string StepPlan::Description() const {
  std::string text;
  for (const Stretch& stretch : stretches) {
    const PhasePlan& phase = phases[stretch.phase];
    const MaskingPlan& masking = phase.masking;
    absl::StrAppendFormat(
        &text, "%ssteps %d to %d: %d rows of %d, %.17g masked (%.17g/%.17g%s, n-grams to %d, at most %d)%s",
        text.empty() ? "" : "; ", stretch.first_step + 1, stretch.last_step, stretch.global_batch_size,
        phase.max_seq_len, masking.probability, masking.mask_share, masking.random_share,
        masking.whole_word ? ", whole words" : "", masking.ngram_max, masking.max_predictions_per_seq,
        phase.learning_rate_scale == 1 ? ""
                                       : absl::StrFormat(", learning rate times %.17g", phase.learning_rate_scale));
  }
  return text;
}

std::vector<PhasePlan> PhasesOf(const JobPlan& plan) {
  if (!plan.phases.empty()) return plan.phases;
  return {{.share = 1,
           .steps = 0,
           .max_seq_len = plan.max_seq_len,
           .global_batch_size = plan.global_batch_size,
           .micro_batch_size = plan.micro_batch_size,
           .masking = plan.masking,
           .learning_rate_scale = 1}};
}

std::string DecayDescription(const OptimizerPlan& optimizer) {
  switch (optimizer.decay) {
    case Decay::kConstant:
      return "learning rate constant";
    case Decay::kCosine:
      return absl::StrFormat("learning rate by cosine to %.17g of its peak", optimizer.final_share);
    case Decay::kLinear:
      break;
  }
  return absl::StrFormat("learning rate linear to %.17g of its peak", optimizer.final_share);
}

absl::StatusOr<StepPlan> PlanSteps(const JobPlan& plan, const std::vector<PhaseRows>& rows) {
  StepPlan steps;
  steps.phases = PhasesOf(plan);
  steps.rows = rows;
  BERT_CHECK(rows.size() == steps.phases.size()) << rows.size() << " of " << steps.phases.size() << " phases";
  ASSIGN_OR_RETURN(steps.total_steps, TotalSteps(plan, steps.phases, rows));
  steps.stretches = Cut(steps.phases, plan.batch_ramp, steps.total_steps);
  const OptimizerPlan& optimizer = plan.optimizer;
  steps.warmup_steps =
      optimizer.warmup_share > 0 ? Rounded(optimizer.warmup_share, steps.total_steps) : optimizer.warmup_steps;
  // Where the job says how many steps, it has been checked.
  if (plan.steps == 0 && steps.warmup_steps > 0 && steps.warmup_steps >= steps.total_steps) {
    return absl::InvalidArgumentError(absl::StrCat("train.optimizer.warmup_steps is ", steps.warmup_steps,
                                                   ", but the training has ", steps.total_steps,
                                                   " steps; give fewer, or train.optimizer.warmup_share"));
  }
  return steps;
}

}  // namespace bert::trainer
