// Tells the coordinator how far a rank is, and hears what it wants.
#ifndef BERT_WORKER_TRAINER_PROGRESS_REPORTER_H_
#define BERT_WORKER_TRAINER_PROGRESS_REPORTER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "worker/trainer/coordinator.h"
#include "worker/trainer/step_time.h"

namespace bert::trainer {

// Reports once a cadence from a thread of its own, sooner where more waits than one report holds. What the coordinator
// has not acknowledged is sent again, so that an outage loses no step; of more than `points_max` the oldest go first.
//
// Thread-safe.
class ProgressReporter {
 public:
  struct Options {
    absl::Duration cadence = absl::Seconds(1);
    size_t points_max = 100'000;
    size_t points_per_report = 5'000;
    // Called from the reporting thread with the live loaders of each answer.
    std::function<void(const std::vector<std::string>&)> on_loaders = [](const std::vector<std::string>&) {};
    // Called once from the reporting thread when the coordinator calls this trainer stale.
    std::function<void(const absl::Status&)> on_stale = [](const absl::Status&) {};
  };

  // `coordinator` and `time` must outlive it.
  ProgressReporter(Coordinator* coordinator, StepTime* time, Options options);
  // Ends without sending what is left.
  ~ProgressReporter();

  void SetCompletedSteps(int64_t steps);
  void AddStep(const StepMetrics& step);
  void AddValidation(const ValidationMetrics& validation);
  // At the end of a step that took `spent`; a report has the mean over those since the last one, and where the time
  // between their ends went.
  void AddRates(const Rates& rates, absl::Duration spent);
  void AddSkippedStep();
  // The training ends before its last step.
  void SetEarlyEnd(const std::string& why);

  // The coordinator wants the job to stop.
  bool StopRequested() const { return stop_requested_; }

  // Returns when everything has been acknowledged; DEADLINE_EXCEEDED after `timeout`.
  absl::Status Flush(absl::Duration timeout);
  // Returns when every step and validation up to `step` has been acknowledged; DEADLINE_EXCEEDED after `timeout`.
  absl::Status FlushUpTo(int64_t step, absl::Duration timeout);

 private:
  void Run();
  ProgressReport TakeReport() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  RankHealth TakeHealth() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Acknowledge(const ProgressReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `done` is asked under mutex_.
  absl::Status FlushUntil(absl::Duration timeout, const std::function<bool()>& done);
  bool NothingLeft() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NothingLeftUpTo(int64_t step) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Coordinator* const coordinator_;
  StepTime* const time_;
  const Options options_;
  std::atomic<bool> stop_requested_ = false;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int flushes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t completed_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t acknowledged_steps_ ABSL_GUARDED_BY(mutex_) = -1;
  int64_t skipped_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string early_end_ ABSL_GUARDED_BY(mutex_);
  // Each times seconds, since the last report with any.
  Rates rate_sums_ ABSL_GUARDED_BY(mutex_);
  absl::Duration rate_time_ ABSL_GUARDED_BY(mutex_);
  // Of the last step's end, and of the last one that a report covers.
  PhaseTotals totals_ ABSL_GUARDED_BY(mutex_);
  PhaseTotals reported_totals_ ABSL_GUARDED_BY(mutex_);
  // Not acknowledged yet, oldest first.
  std::deque<StepMetrics> steps_ ABSL_GUARDED_BY(mutex_);
  std::vector<ValidationMetrics> validations_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_PROGRESS_REPORTER_H_
