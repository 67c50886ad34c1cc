// Where a rank's rows come from.
#ifndef BERT_WORKER_TRAINER_BATCH_SOURCE_H_
#define BERT_WORKER_TRAINER_BATCH_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "dataloader/sampling/row_batch.h"

namespace bert::trainer {

enum class Split { kTrain, kValidation };

// This rank's part of every step: global rows [row_begin, row_end) of steps [first_step, last_step), each of
// `global_rows` rows. Steps are those of the range: step 0 begins at row `first_row` of the split's order.
struct RowRange {
  Split split = Split::kTrain;
  int32_t phase = 0;  // Whose length and masking the rows have.
  int64_t first_row = 0;
  int32_t global_rows = 1;
  int32_t row_begin = 0;
  int32_t row_end = 1;
  int64_t first_step = 0;
  int64_t last_step = 1;
  // Rows of the split, beyond which steps are cut short; 0: without end.
  int64_t split_rows = 0;

  // How many rows `step` has for this rank.
  int32_t RowsOf(int64_t step) const;
};

// A stream of whole steps, in order. Not thread-safe.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  // The rows of the next step; blocks until they are there. OUT_OF_RANGE after the last step. DEADLINE_EXCEEDED: no
  // loader gave them in time. NOT_FOUND, FAILED_PRECONDITION, INVALID_ARGUMENT, DATA_LOSS: no loader can give them.
  virtual absl::StatusOr<sampling::RowBatch> NextStep() = 0;
};

using OpenBatchSource = std::function<absl::StatusOr<std::unique_ptr<BatchSource>>(const RowRange& range)>;

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_BATCH_SOURCE_H_
