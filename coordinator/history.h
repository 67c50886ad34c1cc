// Steps, validations and events of jobs.
#ifndef BERT_COORDINATOR_HISTORY_H_
#define BERT_COORDINATOR_HISTORY_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/history_database.h"
#include "coordinator/history_sink.h"

namespace bert::coordinator {

// When a generation computes steps again, its first report removes what older ones said of that step and those after
// it, validations too: they are not part of the model any more. The last step stored is therefore the newest
// generation's.
// Thread-safe.
class History : public HistorySink {
 public:
  // `database` outlives this.
  explicit History(HistoryDatabase* database) : database_(database) {}

  absl::Status AddProgress(ProgressReport report) override;
  void AddEvents(std::vector<std::pair<JobId, v1::JobEvent>> events) override;

  // The newest of every job.
  absl::StatusOr<std::map<JobId, JobProgress>> LoadProgress();
  // Steps and validations after `after_step`, oldest first; at most `points_max` of each, evenly thinned, the last one
  // always among them.
  absl::StatusOr<v1::ListStepsResponse> ListSteps(const JobId& job, int64_t after_step, int64_t points_max);
  // Oldest first.
  absl::StatusOr<v1::ListJobEventsResponse> ListEvents(const JobId& job);

 private:
  HistoryDatabase* const database_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_HISTORY_H_
