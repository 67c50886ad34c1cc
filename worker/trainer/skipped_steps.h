// Steps whose loss or gradient is not finite.
#ifndef BERT_WORKER_TRAINER_SKIPPED_STEPS_H_
#define BERT_WORKER_TRAINER_SKIPPED_STEPS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/sampling/row_batch.h"
#include "worker/collective/collective.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/gradient.h"

namespace bert::trainer {

// Where it comes from: "loss on rank 1", "gradient of bert...weight on rank 0", or that only the sum over ranks is not
// finite. Computes this rank's rows again, alone, and leaves another gradient in the model; all ranks call it and get
// the same answer. Errors of Collective.
absl::StatusOr<std::string> FindNotFinite(model::MaskedLm& model, collective::Collective& group,
                                          const GradientOptions& options, int64_t step, const sampling::RowBatch& rows);

// Counts them in a row. All ranks see the same steps, for loss and gradient are the same bits everywhere.
class SkippedSteps {
 public:
  // `max`: in a row.
  explicit SkippedSteps(int64_t max) : max_(max) {}

  void Completed() { in_a_row_ = 0; }
  // INTERNAL with `where` once there are more than `max` in a row.
  absl::Status Skipped(int64_t step, const std::string& where);

 private:
  const int64_t max_;
  int64_t in_a_row_ = 0;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_SKIPPED_STEPS_H_
