#include "common/shutdown.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

#include "common/check.h"

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
    absl::MutexLock lock(&mutex_);
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
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
  }
}

int ShutdownSignal::Received() const {
  absl::MutexLock lock(&mutex_);
  return received_;
}

void ShutdownSignal::Wait() const { WaitFor(absl::InfiniteDuration()); }

bool ShutdownSignal::WaitFor(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto requested = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return received_ != 0; };
  return mutex_.AwaitWithTimeout(absl::Condition(&requested), timeout);
}

void ShutdownSignal::Request(int signal_number) {
  std::vector<std::function<void()>> callbacks;
  {
    absl::MutexLock lock(&mutex_);
    if (received_ != 0) return;
    received_ = signal_number;
    callbacks.swap(callbacks_);
  }
  for (const auto& callback : callbacks) callback();
}

void ShutdownSignal::OnRequest(std::function<void()> callback) {
  {
    absl::MutexLock lock(&mutex_);
    if (received_ == 0) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

}  // namespace bert
