// Ending the process at once from any thread, without a trace on disk.
#ifndef BERT_WORKER_TRAINER_ABRUPT_END_H_
#define BERT_WORKER_TRAINER_ABRUPT_END_H_

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace bert::trainer {

// Other threads may sit in a collective or an RPC that ends only with the process, so nothing is joined and no
// destructor runs: what must not be left behind is the cleanup's to remove. Thread-safe.
class AbruptEnd {
 public:
  // Called by Now, in bounded time; replaces the last one. An empty one where nothing is left to clean up.
  void SetCleanup(std::function<void()> cleanup);

  // Logs `why`, cleans up, and ends the process with `exit_code`.
  [[noreturn]] void Now(int exit_code, const std::string& why);

 private:
  Mutex mutex_;
  std::function<void()> cleanup_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_ABRUPT_END_H_
