// What a trainer says to the coordinator and hears from it, as plain values.
#ifndef BERT_WORKER_TRAINER_COORDINATOR_H_
#define BERT_WORKER_TRAINER_COORDINATOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bert::trainer {

// As bert.v1.StepMetrics.
struct StepMetrics {
  int64_t step = 0;
  double loss = 0;
  double learning_rate = 0;
  double grad_norm = 0;
  double tokens_per_second = 0;
  int64_t masked_tokens = 0;
  double epoch = 0;
  absl::Time time;
  int64_t total_steps = 0;
  std::optional<double> next_sentence_loss = std::nullopt;
};

// As bert.v1.ValidationMetrics.
struct ValidationMetrics {
  int64_t step = 0;
  double loss = 0;
  double perplexity = 0;
  double accuracy = 0;
  int64_t masked_tokens = 0;
  struct NextSentence {
    double loss = 0;
    double accuracy = 0;
  };
  std::optional<NextSentence> next_sentence = std::nullopt;
};

// Shares of wall time.
struct TimeShares {
  double data_wait = 0;
  double compute = 0;
  double all_reduce = 0;
  double optimizer = 0;
  double checkpoint = 0;
  double validation = 0;
};

// Of one rank.
struct Rates {
  double tokens_per_second = 0;  // Its share of all ranks'.
  double mfu = 0;                // Model FLOP/s utilisation of its device; 0: not known.
};

// Of one rank, over the steps between two reports.
struct RankHealth {
  TimeShares time_shares;
  Rates rates;
};

struct ProgressReport {
  int64_t completed_steps = 0;
  std::vector<StepMetrics> steps;
  std::vector<ValidationMetrics> validations;
  // Where steps were completed since the last one.
  std::optional<RankHealth> health;
  // Steps of this generation whose loss or gradient was not finite, which changed nothing.
  int64_t skipped_steps = 0;
  // Why the training ends before its last step; empty: it does not.
  std::string early_end;
};

struct ProgressAnswer {
  bool stop = false;
  std::vector<std::string> loaders;
};

struct Rendezvous {
  int world_size = 0;
  std::string store_address;
};

struct CheckpointCommit {
  std::string request_id;
  int64_t step = 0;
  std::string directory;
  std::string digest;
  int64_t size_bytes = 0;
};

// One rank of one generation, as the coordinator knows it. Thread-safe.
//
// Every call is one attempt with a deadline. UNAVAILABLE, DEADLINE_EXCEEDED or RESOURCE_EXHAUSTED (the coordinator has
// no thread left): try again. FAILED_PRECONDITION: this trainer is stale and must end.
class Coordinator {
 public:
  virtual ~Coordinator() = default;

  // Blocks until every rank has joined. `store_address`: rank 0's; else empty. DEADLINE_EXCEEDED: not all came.
  virtual absl::StatusOr<Rendezvous> JoinRendezvous(const std::string& store_address) = 0;
  virtual absl::StatusOr<ProgressAnswer> ReportProgress(const ProgressReport& report) = 0;
  // Answers with the directories that retention has dropped.
  virtual absl::StatusOr<std::vector<std::string>> CommitCheckpoint(const CheckpointCommit& commit) = 0;
  // The directories of all of the job's committed checkpoints; the assignment may name the newest only.
  virtual absl::StatusOr<std::vector<std::string>> CommittedDirectories() = 0;
};

// Whether the same call may succeed later.
inline bool IsTransient(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kResourceExhausted;
}

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_COORDINATOR_H_
