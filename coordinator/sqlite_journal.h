// The embedded journal: one SQLite file, journal.sqlite, in the coordinator's state directory.
#ifndef BERT_COORDINATOR_SQLITE_JOURNAL_H_
#define BERT_COORDINATOR_SQLITE_JOURNAL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/journal.h"

namespace SQLite {
class Database;
}

namespace bert::coordinator {

// WAL with synchronous=FULL: an append is one transaction, synced before it returns. Tables:
//   meta(key, value)                          version, epoch
//   snapshot(id = 1, last_id, checksum, data) a Snapshot that holds everything up to record last_id
//   records(id, checksum, data)               a Batch per append; ids without gaps
// Each checksum covers its data and is seeded with the one before it (the snapshot's id for the snapshot), so that
// damaged, missing and reordered records are found and named.
class SqliteJournal : public Journal {
 public:
  // The caller holds the directory's lock (state_dir.h). DATA_LOSS: not a journal, or damaged. UNIMPLEMENTED: written
  // by a newer version. UNAVAILABLE: cannot be opened or created, and why.
  static absl::StatusOr<std::unique_ptr<SqliteJournal>> Open(const std::string& path);
  ~SqliteJournal() override;

  absl::StatusOr<Recovered> Load() override;
  absl::Status Append(int64_t epoch, absl::Span<const journal::v1::Update> updates) override;
  absl::Status Compact(int64_t epoch, const journal::v1::Snapshot& snapshot) override;
  bool WantsCompaction() const override;

 private:
  SqliteJournal(std::string path, std::unique_ptr<SQLite::Database> database);

  // The members below may throw SQLite::Exception.
  void Prepare();
  absl::StatusOr<Recovered> Read();
  absl::Status CheckEpoch(int64_t epoch) const;
  absl::Status Damaged(const std::string& what) const;

  const std::string path_;
  std::unique_ptr<SQLite::Database> database_;
  int64_t epoch_ = 0;
  int64_t last_id_ = 0;
  uint64_t last_checksum_ = 0;
  int64_t snapshot_bytes_ = 0;
  int64_t record_bytes_ = 0;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_SQLITE_JOURNAL_H_
