#include "common/shutdown.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

#include "common/check.h"
#include "common/clock.h"

namespace bert {
namespace {

// Wakes the receiving thread without being a request.
constexpr int kWakeSignal = SIGUSR2;

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, kWakeSignal);
  return set;
}

}  // namespace

ShutdownSignal::ShutdownSignal() {
  const sigset_t set = WatchedSignals();
  BERT_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  // A lost peer and a file that may not grow are errors of a call, not ends of the process.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "signals");
    Receive();
  });
}

ShutdownSignal::~ShutdownSignal() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  pthread_kill(thread_.native_handle(), kWakeSignal);
  thread_.join();
}

void ShutdownSignal::Receive() {
  const sigset_t set = WatchedSignals();
  while (true) {
    int number = 0;
    if (sigwait(&set, &number) != 0) continue;
    if (number != kWakeSignal) {
      Request(number);
      continue;
    }
    MutexLock lock(&mutex_);
    if (stopping_) return;
  }
}

int ShutdownSignal::Received() const {
  MutexLock lock(&mutex_);
  return received_;
}

void ShutdownSignal::Wait() const { WaitFor(absl::InfiniteDuration()); }

bool ShutdownSignal::WaitFor(absl::Duration timeout) const {
  MutexLock lock(&mutex_);
  const absl::Duration end = RealClock().Monotonic() + timeout;
  while (received_ == 0) {
    const absl::Duration left = end - RealClock().Monotonic();
    if (left <= absl::ZeroDuration()) return false;
    requested_.WaitFor(&mutex_, left);
  }
  return true;
}

void ShutdownSignal::Request(int signal_number) {
  std::vector<std::function<void()>> callbacks;
  {
    MutexLock lock(&mutex_);
    if (received_ != 0) return;
    received_ = signal_number;
    requested_.SignalAll();
    callbacks.swap(callbacks_);
  }
  for (const auto& callback : callbacks) callback();
}

void ShutdownSignal::OnRequest(std::function<void()> callback) {
  {
    MutexLock lock(&mutex_);
    if (received_ == 0) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

}  // namespace bert
