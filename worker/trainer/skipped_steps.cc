#include "worker/trainer/skipped_steps.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "worker/collective/solo_collective.h"
#include "worker/trainer/step_time.h"

namespace bert::trainer {
namespace {

// 0: all finite; 1: the loss; 2 + i: the gradient of parameter i, of several the one that the backward pass met first.
double Culprit(const model::Parameters& parameters, double nll) {
  if (!std::isfinite(nll)) return 1;
  for (auto i = static_cast<int64_t>(parameters.infos().size()) - 1; i >= 0; --i) {
    if (!at::isfinite(parameters.GradView(i)).all().item<bool>()) return static_cast<double>(2 + i);
  }
  return 0;
}

}  // namespace

absl::StatusOr<std::string> FindNotFinite(model::MaskedLm& model, collective::Collective& group,
                                          const GradientOptions& options, int64_t step,
                                          const sampling::RowBatch& rows) {
  collective::SoloCollective solo;
  StepTime time(&RealClock());
  GradientOptions own = options;
  own.global_batch_size = rows.row_count;
  const std::unique_ptr<GradientComputer> gradient = MakeFlatGradient(&model, &solo, &time, own);
  ASSIGN_OR_RETURN(const StepTotals totals, gradient->Compute(step, rows, /*stop=*/false));
  at::Tensor culprits = at::zeros({group.world_size()}, at::kDouble);
  culprits[group.rank()] = Culprit(model.parameters(), totals.nll);
  at::Tensor reduced = culprits.to(model.parameters().grad().device());
  RETURN_IF_ERROR(group.AllReduceSum(reduced));
  culprits.copy_(reduced);
  for (int rank = 0; rank < group.world_size(); ++rank) {
    const auto culprit = static_cast<int64_t>(culprits[rank].item<double>());
    if (culprit == 1) return absl::StrCat("loss on rank ", rank);
    if (culprit > 1) {
      return absl::StrCat("gradient of ", model.parameters().infos()[culprit - 2].name, " on rank ", rank);
    }
  }
  return std::string("gradient of all ranks together, of none alone");
}

absl::Status SkippedSteps::Skipped(int64_t step, const std::string& where) {
  ++in_a_row_;
  if (in_a_row_ <= max_) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "step ", step, ": not finite: ", where, "; that is ", in_a_row_, " in a row (train.nonfinite_steps_max ", max_,
      "); a lower train.optimizer.learning_rate or a longer warmup_steps may help"));
}

}  // namespace bert::trainer
