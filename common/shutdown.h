// SIGINT and SIGTERM as an event that threads can wait for.
#ifndef BERT_COMMON_SHUTDOWN_H_
#define BERT_COMMON_SHUTDOWN_H_

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "common/mutex.h"

namespace bert {

// Make one at the start of main, before any other thread: it blocks the two signals in this thread and in all that it
// starts, receives them in a thread of its own, and ignores SIGPIPE and SIGXFSZ. Child processes inherit the mask:
// reset it there. Thread-safe.
class ShutdownSignal {
 public:
  ShutdownSignal();
  // Ends the receiving thread; the signals stay blocked.
  ~ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

  // The signal's number, or 0 while none has come.
  int Received() const;
  bool Requested() const { return Received() != 0; }
  void Wait() const;
  // False when the time is over first.
  bool WaitFor(absl::Duration timeout) const;
  // As if the signal had come.
  void Request(int signal_number);
  // Calls `callback` once, in the receiving thread, when the first signal comes; at once where it has.
  void OnRequest(std::function<void()> callback);

 private:
  void Receive();

  mutable Mutex mutex_;
  mutable CondVar requested_;
  int received_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> callbacks_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace bert

#endif  // BERT_COMMON_SHUTDOWN_H_
