// Saves checkpoints beside the training.
#ifndef BERT_WORKER_TRAINER_CHECKPOINT_WRITER_H_
#define BERT_WORKER_TRAINER_CHECKPOINT_WRITER_H_

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/coordinator.h"

namespace bert::trainer {

// One checkpoint at a time: the caller's thread copies the tensors, a thread of its own writes them, commits them at
// the coordinator (again and again while it does not answer) and deletes what retention has dropped.
//
// Start, Wait and Idle belong to one thread; Cancel may come from any.
class CheckpointWriter {
 public:
  struct Options {
    std::string job_directory;  // <checkpoint-root>/<job id>
    int64_t generation = 1;
    model::ModelConfig config;
    std::vector<model::ParameterInfo> infos;
    std::vector<TokenizerFile> tokenizer_files;
    // Asked in the writing thread before step's commit until it is true; may block for a moment. A resumed job does not
    // train the committed steps again, so the coordinator must have heard of them all before.
    std::function<bool(int64_t step)> steps_reported = [](int64_t) { return true; };
  };

  // `coordinator` must outlive it.
  CheckpointWriter(Coordinator* coordinator, Options options);
  // Cancels what is under way.
  ~CheckpointWriter();

  bool Idle() const;

  // Copies the tensors (any device) and returns; the writer must be idle. A checkpoint that cannot be saved is logged
  // with path, bytes needed and remedy.
  void Start(const TrainingState& state, const CheckpointTensors& tensors);

  // Until the last checkpoint is committed or has failed: its outcome. RESOURCE_EXHAUSTED: the disk is full.
  absl::Status Wait();

  // Ends what is under way, without a trace on disk unless the coordinator has been asked to commit it and may have
  // done so. False where that takes longer than `timeout`.
  bool Cancel(absl::Duration timeout);

 private:
  void Run();
  absl::Status Save();
  // CANCELLED. On an error that leaves no doubt that it is not committed, `written` is removed.
  absl::Status Commit(const WrittenCheckpoint& written);
  void DeleteDropped(const std::string& directory) const;
  void Remove(const std::string& directory) const;
  // Until `duration` is over or Cancel is called.
  void Pause(absl::Duration duration);

  Coordinator* const coordinator_;
  const Options options_;
  // Belongs to the caller while idle, to the writing thread while not.
  CheckpointContent content_;
  std::atomic<bool> cancelled_ = false;

  mutable Mutex mutex_;
  CondVar changed_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status last_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_CHECKPOINT_WRITER_H_
