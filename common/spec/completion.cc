#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"
#include "common/spec/job_spec.h"
#include "common/spec/nearest_name.h"
#include "common/spec/presets_embedded.h"

namespace bert::spec {
namespace {

constexpr double kWarmupShare = 0.1;
constexpr double kRampShare = 0.1;
constexpr int32_t kRampStages = 8;

v1::JobSpec ReadEmbedded(std::string_view name, std::string_view yaml) {
  absl::StatusOr<ParsedSpec> parsed = ParseJobSpec(yaml, fmt::format("preset {}", name));
  BERT_CHECK(parsed.ok()) << parsed.status().message();
  return parsed->spec;
}

// Name -> what its file says. Parsed once: a coordinator completes a spec with every submit.
const std::map<std::string, v1::JobSpec>& Presets() {
  static const auto* const kPresets = [] {
    auto* const presets = new std::map<std::string, v1::JobSpec>;
    for (const auto& [name, yaml] : EmbeddedPresets()) presets->emplace(name, ReadEmbedded(name, yaml));
    return presets;
  }();
  return *kPresets;
}

const v1::JobSpec& Defaults() {
  static const auto* const kDefaults = new v1::JobSpec(ReadEmbedded("defaults", EmbeddedDefaults()));
  return *kDefaults;
}

// Fields of which one says what another would say otherwise: where a job gives one, its preset's are left out.
void DropAlternatives(const v1::JobSpec& given, v1::JobSpec& base) {
  const v1::TrainSpec& train = given.train();
  v1::TrainSpec& base_train = *base.mutable_train();
  const bool counts_phases = train.phases_size() > 0 && train.phases(0).has_steps();
  if (train.has_duration() || train.has_steps() || counts_phases) {
    base_train.clear_duration();
    base_train.clear_steps();
  }
  if (train.phases_size() > 0) base_train.clear_phases();
  const bool warms_up = train.optimizer().has_warmup_steps() || train.optimizer().has_warmup_share();
  if (warms_up && base_train.has_optimizer()) {
    base_train.mutable_optimizer()->clear_warmup_steps();
    base_train.mutable_optimizer()->clear_warmup_share();
  }
}

// As many rows at once as fit where a row is as long as the job's others.
int32_t RowsAtOnce(const v1::JobSpec& spec, const v1::PhaseSpec& phase) {
  const int64_t places = int64_t{spec.train().micro_batch_size()} * spec.data().max_seq_len();
  const int64_t rows = places / std::max(1, phase.max_seq_len());
  return static_cast<int32_t>(std::clamp<int64_t>(rows, 1, std::max(1, phase.global_batch_size())));
}

void DerivePhases(v1::JobSpec& spec) {
  v1::TrainSpec& train = *spec.mutable_train();
  int64_t steps = 0;
  for (v1::PhaseSpec& phase : *train.mutable_phases()) {
    if (!phase.has_max_seq_len()) phase.set_max_seq_len(spec.data().max_seq_len());
    if (!phase.has_global_batch_size() && train.has_global_batch_size()) {
      phase.set_global_batch_size(train.global_batch_size());
    }
    if (!phase.has_micro_batch_size() && train.has_micro_batch_size()) {
      phase.set_micro_batch_size(RowsAtOnce(spec, phase));
    }
    if (!phase.has_learning_rate_scale()) phase.set_learning_rate_scale(1);
    v1::MaskingSpec masking = spec.data().masking();
    masking.MergeFrom(phase.masking());
    *phase.mutable_masking() = masking;
    steps += std::clamp<int64_t>(phase.steps(), 0, int64_t{1} << 40);
  }
  if (!train.has_steps() && !train.has_duration() && steps > 0) train.set_steps(steps);
}

// What follows from other fields. Overflow and nonsense are left to Validate.
void DeriveFields(v1::JobSpec& spec) {
  if (!spec.has_name()) spec.set_name(spec.has_preset() ? spec.preset() : "job");
  v1::WorkersSpec& workers = *spec.mutable_workers();
  if (!workers.has_min()) workers.set_min(1);
  if (!workers.has_max()) workers.set_max(std::max(1, workers.min()));

  v1::ModelSpec& model = *spec.mutable_model();
  if (!model.has_intermediate_size() && model.has_hidden_size() && model.hidden_size() < (1 << 28)) {
    model.set_intermediate_size(4 * model.hidden_size());
  }
  if (!model.has_max_position_embeddings()) {
    int32_t longest = std::max(512, spec.data().max_seq_len());
    for (const v1::PhaseSpec& phase : spec.train().phases()) longest = std::max(longest, phase.max_seq_len());
    model.set_max_position_embeddings(longest);
  }

  v1::TrainSpec& train = *spec.mutable_train();
  if (!train.has_micro_batch_size() && train.has_global_batch_size() && workers.max() > 0) {
    const int share = train.global_batch_size() / workers.max() + (train.global_batch_size() % workers.max() != 0);
    train.set_micro_batch_size(std::clamp(share, 1, 32));
  }
  DerivePhases(spec);
  v1::OptimizerSpec& optimizer = *train.mutable_optimizer();
  if (!optimizer.has_warmup_steps() && !optimizer.has_warmup_share()) {
    if (train.has_steps()) {
      optimizer.set_warmup_steps(std::max<int64_t>(0, train.steps() / 10));
    } else if (train.has_duration()) {
      optimizer.set_warmup_share(kWarmupShare);
    }
  }
  if (train.has_batch_ramp()) {
    v1::BatchRampSpec& ramp = *train.mutable_batch_ramp();
    if (!ramp.has_share()) ramp.set_share(kRampShare);
    if (!ramp.has_stages()) ramp.set_stages(kRampStages);
  }
}

}  // namespace

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const auto& [name, yaml] : EmbeddedPresets()) names.emplace_back(name);
  return names;
}

absl::StatusOr<v1::JobSpec> Complete(const v1::JobSpec& spec, const FieldLocations& locations) {
  v1::JobSpec complete = Defaults();
  if (spec.has_preset()) {
    const auto preset = Presets().find(spec.preset());
    if (preset == Presets().end()) {
      const std::vector<std::string> names = PresetNames();
      const auto nearest = NearestName(spec.preset(), names);
      const auto location = locations.find("preset");
      return absl::InvalidArgumentError(
          absl::StrCat(location == locations.end() ? "" : absl::StrCat(location->second, ": "),
                       "preset: must be one of ", absl::StrJoin(names, ", "), "; it is '", spec.preset(), "'",
                       nearest ? absl::StrCat("; did you mean '", *nearest, "'?") : ""));
    }
    complete.MergeFrom(preset->second);
    DropAlternatives(spec, complete);
  }
  complete.MergeFrom(spec);
  DeriveFields(complete);
  return complete;
}

}  // namespace bert::spec
