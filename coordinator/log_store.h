// The log lines of jobs, in the order in which they came in.
#ifndef BERT_COORDINATOR_LOG_STORE_H_
#define BERT_COORDINATOR_LOG_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "bert/v1/jobs.pb.h"
#include "bert/v1/worker.pb.h"
#include "common/ids.h"
#include "common/mutex.h"
#include "coordinator/history_database.h"

namespace bert::coordinator {

// Keeps the last kLinesPerJobMax lines of each job. Thread-safe.
class LogStore {
 public:
  static constexpr int64_t kLinesPerJobMax = 200'000;
  static constexpr size_t kLineBytesMax = 8'192;

  // `database` outlives this.
  static absl::StatusOr<std::unique_ptr<LogStore>> Open(HistoryDatabase* database);

  // Queues the lines that are new (the chunk's first_line counts) and answers from where to go on. They are stored once
  // Flush has returned. Lines between what was stored and first_line are taken for lost. UNAVAILABLE: try again.
  absl::StatusOr<v1::LogPosition> Append(const v1::LogChunk& chunk, const std::string& node);
  // UNAVAILABLE, at once where the disk takes nothing: what was appended is not stored yet; send it again.
  absl::Status Flush();

  struct Lines {
    std::vector<v1::LogLine> lines;
    // No line that was appended before the call is missing behind these.
    bool all = false;
  };
  // Up to `lines_max` lines after sequence number `after`, oldest first; of `rank` only where given. Lines that were
  // appended and cannot be stored yet are not among them.
  absl::StatusOr<Lines> Read(const JobId& job, std::optional<int32_t> rank, int64_t after, int lines_max);
  // The sequence number after which exactly the last `lines` lines follow.
  absl::StatusOr<int64_t> BeforeLast(const JobId& job, std::optional<int32_t> rank, int64_t lines);
  // Of the newest line; 0 where there is none.
  int64_t LastSequence(const JobId& job) const;

 private:
  using RankLog = std::tuple<std::string, int64_t, int32_t>;  // job, generation, rank

  explicit LogStore(HistoryDatabase* database) : database_(database) {}

  HistoryDatabase* const database_;
  mutable Mutex mutex_;
  std::map<RankLog, int64_t> next_lines_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> last_sequences_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_LOG_STORE_H_
