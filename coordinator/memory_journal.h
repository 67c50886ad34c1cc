// A journal for tests: a disk that can be full, and that forgets what was not synced when its machine dies.
#ifndef BERT_COORDINATOR_MEMORY_JOURNAL_H_
#define BERT_COORDINATOR_MEMORY_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/journal.h"

namespace bert::coordinator {

// What outlives the process. Not thread-safe.
struct MemoryDisk {
  enum class Fault {
    kNone,
    // Nothing is written; the append fails.
    kFull,
    // The process dies within the append: before, or after what it wrote was synced.
    kDiesBeforeSync,
    kDiesAfterSync,
  };

  int64_t epoch = 0;
  std::string snapshot;
  // Serialised batches.
  std::vector<std::string> records;
  int64_t appends = 0;
  size_t compact_records = 64;
  int64_t compaction_attempts = 0;
  // Appends go on all the same.
  bool compactions_fail = false;
  // Asked at each append.
  std::function<Fault()> fault = [] { return Fault::kNone; };
  // Set by a fault that kills; every further call fails until the next Load.
  bool dead = false;
};

class MemoryJournal : public Journal {
 public:
  // `disk` outlives this.
  explicit MemoryJournal(MemoryDisk* disk) : disk_(disk) {}

  absl::StatusOr<Recovered> Load() override {
    disk_->dead = false;
    Recovered recovered;
    recovered.epoch = ++disk_->epoch;
    if (!recovered.snapshot.ParseFromString(disk_->snapshot)) return absl::DataLossError("snapshot");
    for (const std::string& record : disk_->records) {
      journal::v1::Batch batch;
      if (!batch.ParseFromString(record)) return absl::DataLossError("record");
      for (journal::v1::Update& update : *batch.mutable_updates()) recovered.updates.push_back(std::move(update));
    }
    return recovered;
  }

  absl::Status Append(int64_t epoch, absl::Span<const journal::v1::Update> updates) override {
    if (epoch != disk_->epoch) return absl::FailedPreconditionError("the epoch is over");
    if (disk_->dead) return absl::UnavailableError("the process is dead");
    const MemoryDisk::Fault fault = disk_->fault();
    if (fault == MemoryDisk::Fault::kFull) return absl::UnavailableError("the disk is full");
    disk_->dead = fault != MemoryDisk::Fault::kNone;
    if (fault == MemoryDisk::Fault::kDiesBeforeSync) return absl::UnavailableError("the process is dead");
    journal::v1::Batch batch;
    for (const journal::v1::Update& update : updates) *batch.add_updates() = update;
    disk_->records.push_back(batch.SerializeAsString());
    ++disk_->appends;
    return disk_->dead ? absl::UnavailableError("the process is dead") : absl::OkStatus();
  }

  absl::Status Compact(int64_t epoch, const journal::v1::Snapshot& snapshot) override {
    if (epoch != disk_->epoch) return absl::FailedPreconditionError("the epoch is over");
    if (disk_->dead) return absl::UnavailableError("the process is dead");
    ++disk_->compaction_attempts;
    if (disk_->compactions_fail) return absl::UnavailableError("the disk is full");
    disk_->snapshot = snapshot.SerializeAsString();
    disk_->records.clear();
    return absl::OkStatus();
  }

  bool WantsCompaction() const override { return disk_->records.size() >= disk_->compact_records; }

 private:
  MemoryDisk* const disk_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_MEMORY_JOURNAL_H_
