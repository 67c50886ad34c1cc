#include "coordinator/stream_pump.h"

#include <pthread.h>

#include <utility>
#include <vector>

namespace bert::coordinator {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

}  // namespace

StreamPump::StreamPump() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "streams");
    Run();
  });
}

StreamPump::~StreamPump() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void StreamPump::Add(std::shared_ptr<PumpedStream> stream) {
  MutexLock lock(&mutex_);
  streams_.insert(std::move(stream));
  woken_ = true;
  changed_.SignalAll();
}

void StreamPump::Remove(const std::shared_ptr<PumpedStream>& stream) {
  MutexLock lock(&mutex_);
  streams_.erase(stream);
}

void StreamPump::Wake() {
  MutexLock lock(&mutex_);
  woken_ = true;
  changed_.SignalAll();
}

void StreamPump::Run() {
  while (true) {
    std::vector<std::shared_ptr<PumpedStream>> turn;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && streams_.empty()) changed_.Wait(&mutex_);
      if (!stopping_ && !woken_) changed_.WaitFor(&mutex_, kPollInterval);
      if (stopping_) return;
      woken_ = false;
      turn.assign(streams_.begin(), streams_.end());
    }
    for (const auto& stream : turn) stream->Poll();
  }
}

}  // namespace bert::coordinator
