#include "worker/trainer/restore.h"

#include <ATen/ops/full.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/trainer/log_line.h"

namespace bert::trainer {
namespace {

absl::StatusOr<int64_t> Load(const ResumePoint& point, const TrainingState& wanted, model::MaskedLm& model,
                             AdamW& optimizer) {
  RETURN_IF_ERROR(VerifyCheckpoint(point.directory, point.digest));
  ASSIGN_OR_RETURN(const TrainingState state, ReadTrainingState(point.directory));
  RETURN_IF_ERROR(CheckCompatible(state, wanted, point.directory));
  RETURN_IF_ERROR(LoadCheckpoint(point.directory, model, optimizer.exp_avg(), optimizer.exp_avg_sq()));
  return state.step;
}

absl::StatusOr<int64_t> InitializeOrLoad(const std::vector<ResumePoint>& resume_points, const TrainingState& wanted,
                                         model::MaskedLm& model, AdamW& optimizer) {
  if (resume_points.empty()) {
    model.InitializeWeights(wanted.seed);
    return 0;
  }
  absl::Status last;
  for (const ResumePoint& point : resume_points) {
    const absl::StatusOr<int64_t> step = Load(point, wanted, model, optimizer);
    if (step.ok()) {
      LogInfo(absl::StrCat("resuming from step ", *step, " in ", point.directory));
      return step;
    }
    last = step.status();
    // A whole checkpoint of something else: older ones are no better.
    if (last.code() == absl::StatusCode::kFailedPrecondition) return last;
    LogError(
        absl::StrCat("checkpoint of step ", point.step, " in ", point.directory, " cannot be used: ", last.message()));
  }
  return absl::DataLossError(absl::StrCat("none of the ", resume_points.size(),
                                          " committed checkpoints can be used; the oldest: ", last.message()));
}

}  // namespace

absl::StatusOr<int64_t> Restore(const std::vector<ResumePoint>& resume_points, const TrainingState& wanted,
                                model::MaskedLm& model, AdamW& optimizer, collective::Collective& group) {
  at::Tensor step = at::full({1}, 0, model.parameters().master().options().dtype(at::kLong));
  if (group.rank() == 0) {
    ASSIGN_OR_RETURN(const int64_t completed, InitializeOrLoad(resume_points, wanted, model, optimizer));
    step.fill_(completed);
  }
  RETURN_IF_ERROR(group.Broadcast(step, 0));
  RETURN_IF_ERROR(group.Broadcast(model.parameters().master(), 0));
  RETURN_IF_ERROR(group.Broadcast(optimizer.exp_avg(), 0));
  RETURN_IF_ERROR(group.Broadcast(optimizer.exp_avg_sq(), 0));
  model.parameters().RefreshCompute();
  return step.item<int64_t>();
}

}  // namespace bert::trainer
