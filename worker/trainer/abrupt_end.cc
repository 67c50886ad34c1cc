#include "worker/trainer/abrupt_end.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

namespace bert::trainer {

void AbruptEnd::SetCleanup(std::function<void()> cleanup) {
  MutexLock lock(&mutex_);
  cleanup_ = std::move(cleanup);
}

void AbruptEnd::Now(int exit_code, const std::string& why) {
  // Held to the end: of two threads that end the process, one does.
  mutex_.Lock();
  spdlog::error("{}", why);
  if (cleanup_) cleanup_();
  _exit(exit_code);
}

}  // namespace bert::trainer
