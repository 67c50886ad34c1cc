#include "common/spec/recipe_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace bert::spec {
namespace {

constexpr int kPhasesMax = 64;
// Of a sum of shares as people write them: three thirds are 0.333.
constexpr double kShareSlack = 2e-3;

class RecipeChecker {
 public:
  RecipeChecker(const v1::JobSpec& spec, const ReportProblem& report) : spec_(spec), report_(report) {}

  void Check() {
    CheckLength();
    CheckPhases();
  }

 private:
  // Steps, or one kind of duration.
  void CheckLength() {
    const v1::TrainSpec& train = spec_.train();
    const v1::DurationSpec& duration = train.duration();
    const int kinds = duration.has_rows() + duration.has_epochs() + duration.has_tokens();
    if (train.has_duration() && kinds != 1) {
      Report("train.duration", fmt::format("must hold one of rows, epochs and tokens; it holds {}", kinds),
             {"train.duration.rows", "train.duration.epochs", "train.duration.tokens"});
    }
    if (train.has_steps() && train.has_duration()) {
      Report("train.duration", "and train.steps are both given; give one", {"train.steps"});
    } else if (!train.has_steps() && !train.has_duration()) {
      Report("train.steps", "is required; give it, or train.duration, or a preset");
    }
  }

  void CheckPhases() {
    const v1::TrainSpec& train = spec_.train();
    double shares = 0;
    int64_t steps = 0;
    int32_t rows_min = train.global_batch_size();
    bool mixed = false;
    for (int i = 0; i < train.phases_size(); ++i) {
      const v1::PhaseSpec& phase = train.phases(i);
      const std::string path = absl::StrCat("train.phases[", i, "]");
      shares += phase.share();
      steps += std::min<int64_t>(phase.steps(), int64_t{1} << 40);
      rows_min = i == 0 ? phase.global_batch_size() : std::min(rows_min, phase.global_batch_size());
      mixed |= phase.has_share() == phase.has_steps() || phase.has_steps() != train.phases(0).has_steps();
      CheckPhase(phase, path);
    }
    if (train.phases_size() > kPhasesMax) {
      Report("train.phases", fmt::format("must be at most {}; they are {}", kPhasesMax, train.phases_size()));
    }
    if (mixed) {
      Report("train.phases", "must have a share each, or steps each");
    } else if (train.phases_size() > 0 && train.phases(0).has_share() && std::abs(shares - 1) > kShareSlack) {
      Report("train.phases", fmt::format("must have shares that add up to 1; they add up to {}", shares));
    } else if (train.phases_size() > 0 && train.phases(0).has_steps() && train.steps() != steps) {
      Report("train.phases",
             train.has_steps() ? fmt::format("must have as many steps together as train.steps ({}); they have {}",
                                             train.steps(), steps)
                               : "must have shares where train.duration says how long",
             {"train.steps"});
    }
    CheckRamp(rows_min);
  }

  void CheckPhase(const v1::PhaseSpec& phase, const std::string& path) {
    if (phase.max_seq_len() > spec_.model().max_position_embeddings()) {
      Report(path + ".max_seq_len",
             fmt::format("must be at most model.max_position_embeddings ({}); it is {}",
                         spec_.model().max_position_embeddings(), phase.max_seq_len()),
             {"model.max_position_embeddings"});
    }
    if (phase.global_batch_size() < spec_.workers().max()) {
      Report(path + ".global_batch_size",
             fmt::format("must be at least workers.max ({}), a row for each; it is {}", spec_.workers().max(),
                         phase.global_batch_size()),
             {"workers.max"});
    }
    if (phase.masking().mask_share() + phase.masking().random_share() > 1 + 1e-9) {
      Report(path + ".masking.mask_share",
             fmt::format("and {}.masking.random_share together must be at most 1; they are {} and {}", path,
                         phase.masking().mask_share(), phase.masking().random_share()),
             {path + ".masking.random_share"});
    }
  }

  // `rows_min`: of the smallest phase's batch.
  void CheckRamp(int32_t rows_min) {
    const v1::BatchRampSpec& ramp = spec_.train().batch_ramp();
    if (!ramp.has_start()) return;
    if (ramp.start() < spec_.workers().max()) {
      Report("train.batch_ramp.start",
             fmt::format("must be at least workers.max ({}), a row for each; it is {}", spec_.workers().max(),
                         ramp.start()),
             {"workers.max"});
    }
    if (ramp.start() > rows_min) {
      Report("train.batch_ramp.start",
             fmt::format("must be at most the global batch ({} rows); it is {}", rows_min, ramp.start()),
             {"train.global_batch_size"});
    }
  }

  void Report(const std::string& path, std::string_view problem, const std::vector<std::string>& related = {}) const {
    report_(path, problem, related);
  }

  const v1::JobSpec& spec_;
  const ReportProblem& report_;
};

}  // namespace

void CheckRecipe(const v1::JobSpec& spec, const ReportProblem& report) { RecipeChecker(spec, report).Check(); }

}  // namespace bert::spec
