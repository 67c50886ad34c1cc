// What a training leaves for people to look at: metrics.jsonl, TensorBoard's event files and two charts.
#ifndef BERT_WORKER_RECORD_TRAINING_RECORD_H_
#define BERT_WORKER_RECORD_TRAINING_RECORD_H_

#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "worker/record/points.h"

namespace bert::record {

// In `directory`, the job's:
//
//   metrics.jsonl                                  every step and validation, see metrics_file.h
//   tensorboard/events.out.tfevents.<generation>   the same as TensorBoard's scalars, predictions as text
//   loss.svg, learning_rate.svg                    drawn by Finish()
//
// A generation that resumes after step s cuts off what earlier ones wrote behind it, in both, so that no step is there
// twice. One
// thread of its own does all writing. It takes nothing amiss: what a full disk refuses is tried again, up to a bound,
// with a warning when that begins and when it ends; training never waits for it and never fails through it.
//
// Thread-safe.
class TrainingRecord {
 public:
  struct Options {
    std::string directory;
    int64_t generation = 1;
    int64_t first_step = 0;  // Completed steps that the training begins with.
    // Loss of a model that only knows how frequent each token is, in nats; 0: not known. Drawn as a level.
    double unigram_cross_entropy = 0;
    absl::Duration cadence = absl::Seconds(1);
    // Of those that wait for the thread the oldest go first.
    size_t points_max = 100'000;
    // Of each file, not written yet; more is given up.
    size_t unwritten_bytes_max = 8 << 20;
  };

  explicit TrainingRecord(Options options);
  // Writes what is left, once.
  ~TrainingRecord();
  TrainingRecord(const TrainingRecord&) = delete;
  TrainingRecord& operator=(const TrainingRecord&) = delete;

  void Add(const StepPoint& point);
  void Add(const ValidationPoint& point);

  // Returns when all that was added before has been written, or been tried to; DEADLINE_EXCEEDED after `timeout`.
  absl::Status Flush(absl::Duration timeout);

  // Flush(), then draws the charts. The training is over. Errors of common/files.h: they could not be written.
  absl::Status Finish(absl::Duration timeout);

 private:
  using Point = std::variant<StepPoint, ValidationPoint>;

  void Push(Point point);
  void Run();

  const Options options_;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int flushes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t added_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of those added, how many the thread is through with.
  int64_t handled_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Point> waiting_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_TRAINING_RECORD_H_
