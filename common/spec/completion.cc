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
    model.set_max_position_embeddings(std::max(512, spec.data().max_seq_len()));
  }

  v1::TrainSpec& train = *spec.mutable_train();
  if (!train.has_micro_batch_size() && train.has_global_batch_size() && workers.max() > 0) {
    const int share = train.global_batch_size() / workers.max() + (train.global_batch_size() % workers.max() != 0);
    train.set_micro_batch_size(std::clamp(share, 1, 32));
  }
  if (!train.optimizer().has_warmup_steps() && train.has_steps()) {
    train.mutable_optimizer()->set_warmup_steps(std::max<int64_t>(0, train.steps() / 10));
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
  }
  complete.MergeFrom(spec);
  DeriveFields(complete);
  return complete;
}

}  // namespace bert::spec
