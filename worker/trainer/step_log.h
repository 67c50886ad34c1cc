// What every completed step leaves: a report to the coordinator, a point on the curves, a line in the log.
#ifndef BERT_WORKER_TRAINER_STEP_LOG_H_
#define BERT_WORKER_TRAINER_STEP_LOG_H_

#include <cstdint>

#include "absl/time/time.h"
#include "common/estimate/model_shape.h"
#include "worker/record/training_record.h"
#include "worker/trainer/assignment.h"
#include "worker/trainer/coordinator.h"
#include "worker/trainer/progress_reporter.h"
#include "worker/trainer/step_time.h"

namespace bert::trainer {

// One of each rank; rank 0's also says what all ranks have done together. Not thread-safe.
class StepLog {
 public:
  struct Options {
    int rank = 0;
    int world_size = 1;
    int64_t last_step = 1;        // Of the training.
    int64_t log_every_steps = 1;  // Between two lines in the log.
    estimate::ModelShape shape;
    // Of this rank's device, for the model FLOP/s utilisation; 0: not known.
    double peak_flops = 0;
  };

  // Of one step, over all ranks.
  struct Work {
    int64_t rows = 0;
    int64_t tokens = 0;
    absl::Duration spent;  // Wall time of the step itself.
  };

  // Borrows the pointers; `record` may be null.
  StepLog(const Options& options, StepTime* time, ProgressReporter* reporter, record::TrainingRecord* record);

  // `metrics` but for its speed.
  void Add(StepMetrics metrics, const Work& work);

  // A step whose loss or gradient is not finite, so that no weight changed.
  void AddSkipped(StepMetrics metrics, const Work& work);

 private:
  // Since the last step, of the wall time between them.
  struct Waits {
    double data = 0;
    double checkpoint = 0;
  };

  double Utilisation(const Work& work, int64_t masked_tokens) const;
  void Record(const StepMetrics& metrics, double mfu, bool skipped);
  void Print(const StepMetrics& metrics, const Work& work);
  Waits TakeWaits();

  const Options options_;
  StepTime* const time_;
  ProgressReporter* const reporter_;
  record::TrainingRecord* const record_;

  // Of the last step's end.
  absl::Duration step_end_;
  absl::Duration step_data_wait_;
  absl::Duration step_checkpoint_;
  // Since the last line.
  Work line_work_;
  int64_t line_masked_tokens_ = 0;
  absl::Duration line_data_wait_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_STEP_LOG_H_
