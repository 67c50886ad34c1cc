#include "worker/agent/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "common/check.h"

namespace bert::agent {

Mailbox::Mailbox() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { BERT_CHECK(fd_ >= 0) << "eventfd"; }

Mailbox::~Mailbox() { close(fd_); }

void Mailbox::Post(std::function<void()> work) {
  // Under the lock, so that the poster is done with this object when the work runs.
  MutexLock lock(&mutex_);
  posted_.push_back(std::move(work));
  BERT_CHECK(eventfd_write(fd_, 1) == 0) << "eventfd_write";
}

void Mailbox::RunAll() {
  std::vector<std::function<void()>> work;
  {
    MutexLock lock(&mutex_);
    eventfd_t count = 0;
    eventfd_read(fd_, &count);
    work.swap(posted_);
  }
  for (const auto& step : work) step();
}

}  // namespace bert::agent
