// Loss on the held-out split.
#ifndef BERT_WORKER_TRAINER_VALIDATION_H_
#define BERT_WORKER_TRAINER_VALIDATION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/collective/collective.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/batch_source.h"
#include "worker/trainer/coordinator.h"

namespace bert::trainer {

struct ValidationOptions {
  int32_t phase = 0;
  int64_t split_rows = 0;  // Of the whole split.
  int64_t rows = 0;        // To use, from its start: 1 to split_rows.
  int32_t micro_batch_size = 1;
  int32_t max_seq_len = 128;
};

// Evaluates the same rows with the same masks each time, divided over the ranks, and sums in fp64 over all of them. All
// ranks call it at the same step and get the same result. `step`: completed steps, for the result.
absl::StatusOr<ValidationMetrics> Validate(model::MaskedLm& model, collective::Collective& group,
                                           const OpenBatchSource& open, const ValidationOptions& options, int64_t step);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_VALIDATION_H_
