// One thread that gives every open server stream its turn.
#ifndef BERT_COORDINATOR_STREAM_PUMP_H_
#define BERT_COORDINATOR_STREAM_PUMP_H_

#include <memory>
#include <set>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace bert::coordinator {

// A stream that has something to send now and then.
class PumpedStream {
 public:
  virtual ~PumpedStream() = default;
  // Sends what is due. Called by one thread at a time, until it is removed and perhaps once after that.
  virtual void Poll() = 0;
};

// Polls each stream every 50 ms, and all of them after Wake. Sleeps while there is none. Thread-safe.
class StreamPump {
 public:
  StreamPump();
  ~StreamPump();

  void Add(std::shared_ptr<PumpedStream> stream);
  void Remove(const std::shared_ptr<PumpedStream>& stream);
  void Wake();

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::set<std::shared_ptr<PumpedStream>> streams_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_STREAM_PUMP_H_
