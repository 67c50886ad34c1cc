// Where updates become durable before anyone is told of them.
#ifndef BERT_COORDINATOR_JOURNAL_H_
#define BERT_COORDINATOR_JOURNAL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bert/journal/v1/journal.pb.h"

namespace bert::coordinator {

// Calls come from one thread at a time.
//
// An epoch is one coordinator's time in office: Load begins a new one, and from then on writes of older ones are
// refused with FAILED_PRECONDITION, so that a coordinator that has been replaced can do no harm.
class Journal {
 public:
  struct Recovered {
    int64_t epoch = 0;
    journal::v1::Snapshot snapshot;
    // Since the snapshot, in order.
    std::vector<journal::v1::Update> updates;
  };

  virtual ~Journal() = default;

  // Everything that was ever appended, in order. DATA_LOSS: something of it is damaged, and where.
  virtual absl::StatusOr<Recovered> Load() = 0;
  // OK: all of the updates are durable. Else UNAVAILABLE with the cause, or RESOURCE_EXHAUSTED where they are too large
  // for one record, and none is, unless the process dies now: then the next Load may find all of them.
  virtual absl::Status Append(int64_t epoch, absl::Span<const journal::v1::Update> updates) = 0;
  // Replaces everything appended so far by `snapshot`. On an error everything is as before.
  virtual absl::Status Compact(int64_t epoch, const journal::v1::Snapshot& snapshot) = 0;
  // True when a Load would replay so much that a snapshot is worth its cost.
  virtual bool WantsCompaction() const = 0;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_JOURNAL_H_
