// A coordinator for tests, in memory.
#ifndef BERT_WORKER_TRAINER_FAKE_COORDINATOR_H_
#define BERT_WORKER_TRAINER_FAKE_COORDINATOR_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "worker/trainer/coordinator.h"

namespace bert::trainer {

// Thread-safe.
class FakeCoordinator : public Coordinator {
 public:
  absl::StatusOr<Rendezvous> JoinRendezvous(const std::string& store_address) override {
    return Rendezvous{1, store_address};
  }

  absl::StatusOr<ProgressAnswer> ReportProgress(const ProgressReport& report) override {
    MutexLock lock(&mutex_);
    ++reports_;
    changed_.SignalAll();
    if (!answer_.ok()) return answer_;
    completed_steps_ = report.completed_steps;
    steps_.insert(steps_.end(), report.steps.begin(), report.steps.end());
    skipped_steps_ = report.skipped_steps;
    early_end_ = report.early_end;
    if (report.health.has_value()) health_ = report.health;
    validations_.insert(validations_.end(), report.validations.begin(), report.validations.end());
    return ProgressAnswer{stop_, loaders_};
  }

  absl::StatusOr<std::vector<std::string>> CommitCheckpoint(const CheckpointCommit& commit) override {
    MutexLock lock(&mutex_);
    ++commit_attempts_;
    changed_.SignalAll();
    if (!answer_.ok()) return answer_;
    commits_.push_back(commit);
    return dropped_;
  }

  absl::StatusOr<std::vector<std::string>> CommittedDirectories() override {
    MutexLock lock(&mutex_);
    if (!answer_.ok()) return answer_;
    std::vector<std::string> directories;
    for (const CheckpointCommit& commit : commits_) directories.push_back(commit.directory);
    return directories;
  }

  // What every call answers from now on.
  void Answer(const absl::Status& status) {
    MutexLock lock(&mutex_);
    answer_ = status;
  }
  void Stop() {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  void SetLoaders(std::vector<std::string> loaders) {
    MutexLock lock(&mutex_);
    loaders_ = std::move(loaders);
  }
  void Drop(std::vector<std::string> directories) {
    MutexLock lock(&mutex_);
    dropped_ = std::move(directories);
  }

  // Until that many more have been received, whatever was answered.
  void AwaitReports(int count) { Await(count, reports_); }
  void AwaitCommitAttempts(int count) { Await(count, commit_attempts_); }

  std::vector<StepMetrics> steps() {
    MutexLock lock(&mutex_);
    return steps_;
  }
  std::vector<ValidationMetrics> validations() {
    MutexLock lock(&mutex_);
    return validations_;
  }
  std::vector<CheckpointCommit> commits() {
    MutexLock lock(&mutex_);
    return commits_;
  }
  int64_t skipped_steps() {
    MutexLock lock(&mutex_);
    return skipped_steps_;
  }
  std::string early_end() {
    MutexLock lock(&mutex_);
    return early_end_;
  }
  // The last one.
  std::optional<RankHealth> health() {
    MutexLock lock(&mutex_);
    return health_;
  }
  int64_t completed_steps() {
    MutexLock lock(&mutex_);
    return completed_steps_;
  }

 private:
  void Await(int count, const int& counter) {
    MutexLock lock(&mutex_);
    const int wanted = counter + count;
    while (counter < wanted) changed_.Wait(&mutex_);
  }

  Mutex mutex_;
  CondVar changed_;
  absl::Status answer_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> loaders_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> dropped_ ABSL_GUARDED_BY(mutex_);
  int reports_ = 0;
  int commit_attempts_ = 0;
  int64_t completed_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t skipped_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string early_end_ ABSL_GUARDED_BY(mutex_);
  std::optional<RankHealth> health_ ABSL_GUARDED_BY(mutex_);
  std::vector<StepMetrics> steps_ ABSL_GUARDED_BY(mutex_);
  std::vector<ValidationMetrics> validations_ ABSL_GUARDED_BY(mutex_);
  std::vector<CheckpointCommit> commits_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_FAKE_COORDINATOR_H_
