// What the coordinator tells its history: metrics of steps, and what happened to jobs.
#ifndef BERT_COORDINATOR_HISTORY_SINK_H_
#define BERT_COORDINATOR_HISTORY_SINK_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "bert/v1/jobs.pb.h"
#include "common/ids.h"

namespace bert::coordinator {

// The newest that is known of a job's training.
struct JobProgress {
  // Each with the generation that reported it.
  std::optional<v1::StepMetrics> last_step;
  int64_t step_generation = 0;
  std::optional<v1::ValidationMetrics> last_validation;
  int64_t validation_generation = 0;
  // Of the newest report; not part of the history.
  std::optional<v1::TimeShares> time_shares;
};

// Steps and validations of one report, as accepted.
struct ProgressReport {
  JobId job;
  int64_t generation = 0;
  std::vector<v1::StepMetrics> steps;
  std::vector<v1::ValidationMetrics> validations;
};

// Thread-safe; never blocks on a disk.
class HistorySink {
 public:
  virtual ~HistorySink() = default;

  // UNAVAILABLE: too much is waiting to be written; nothing was taken.
  virtual absl::Status AddProgress(ProgressReport report) = 0;
  virtual void AddEvents(std::vector<std::pair<JobId, v1::JobEvent>> events) = 0;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_HISTORY_SINK_H_
