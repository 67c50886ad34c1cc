// The file beside the journal that keeps what is worth keeping but not worth a sync each: steps, events, log lines.
#ifndef BERT_COORDINATOR_HISTORY_DATABASE_H_
#define BERT_COORDINATOR_HISTORY_DATABASE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"

namespace SQLite {
class Database;
class Exception;
}  // namespace SQLite

namespace bert::coordinator {

// One thread writes what is queued, as much as there is in one transaction (WAL, synchronous=NORMAL: a crash of the
// process loses what was queued, one of the machine perhaps the last transactions; neither damages the file). While it
// cannot write (a full disk), the queue fills up, is refused, and is written once it can be. Thread-safe.
class HistoryDatabase {
 public:
  // Runs inside a transaction, perhaps more than once; may throw SQLite::Exception.
  using Write = std::function<void(SQLite::Database&)>;

  // A damaged file is moved aside, with a warning in the log: nothing in it is needed to run. Every page is read for
  // that, a second for a gigabyte.
  static absl::StatusOr<std::unique_ptr<HistoryDatabase>> Open(const std::string& path);
  // Writes what is queued, if that can be done at once.
  ~HistoryDatabase();

  // UNAVAILABLE: more than kQueueBytesMax wait. `bytes` is the write's rough size.
  absl::Status Enqueue(int64_t bytes, Write write);
  // For what nobody can send again, because it has happened; it is small. Goes kReserveBytes past that bound; beyond,
  // where the disk has taken nothing for long, it is dropped, and the log says so once.
  void EnqueueOrDrop(int64_t bytes, Write write);
  // Returns once everything queued before is written. UNAVAILABLE: not within `timeout`, or, at once, the last attempt
  // to write has failed; and why. Nobody waits for a full disk: those who would have something else to do.
  absl::Status Flush(absl::Duration timeout);
  // Runs `read` on the readers' connection, after a short Flush so that what was told is seen; `saw_all`, where given,
  // is set to whether that succeeded. DATA_LOSS: the file has
  // been damaged since it was opened. INTERNAL: SQLite's words.
  absl::Status Read(absl::FunctionRef<void(SQLite::Database&)> read, bool* saw_all = nullptr);

  static constexpr int64_t kQueueBytesMax = 32 << 20;
  static constexpr int64_t kReserveBytes = 8 << 20;

 private:
  struct Item {
    int64_t bytes;
    Write write;
  };

  HistoryDatabase(std::string path, std::unique_ptr<SQLite::Database> writer, std::unique_ptr<SQLite::Database> reader);

  void Run();
  void Push(int64_t bytes, Write write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the writer thread.
  absl::Status WriteBatch(const std::deque<Item>& batch);

  const std::string path_;
  std::unique_ptr<SQLite::Database> writer_;
  Mutex read_mutex_;
  std::unique_ptr<SQLite::Database> reader_ ABSL_GUARDED_BY(read_mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t queue_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t enqueued_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t written_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  // Since the queue was last written.
  bool dropped_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_HISTORY_DATABASE_H_
