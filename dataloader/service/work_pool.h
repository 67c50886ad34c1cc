// A few threads that run what they are given, in order.
#ifndef BERT_DATALOADER_SERVICE_WORK_POOL_H_
#define BERT_DATALOADER_SERVICE_WORK_POOL_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace bert::loader {

// Thread-safe. The queue is bounded by those who submit: a stream or a call has at most one task in it.
class WorkPool {
 public:
  // Threads are called `name`, which has at most 15 characters.
  WorkPool(const std::string& name, int threads);
  // Runs what is queued, then ends the threads.
  ~WorkPool();

  void Submit(std::function<void()> task);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_WORK_POOL_H_
