#include "bertctl/interruptible_input.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "common/check.h"

namespace bert::ctl {

class InterruptibleInput::Wakeup {
 public:
  Wakeup() : fd_(eventfd(0, EFD_CLOEXEC)) { BERT_CHECK(fd_ >= 0); }
  ~Wakeup() { close(fd_); }

  int fd() const { return fd_; }
  void Signal() {
    const uint64_t one = 1;
    BERT_CHECK(write(fd_, &one, sizeof(one)) == sizeof(one));
  }

 private:
  const int fd_;
};

InterruptibleInput::InterruptibleInput(int fd, ShutdownSignal& shutdown)
    : fd_(fd), wakeup_(std::make_shared<Wakeup>()) {
  shutdown.OnRequest([wakeup = wakeup_] { wakeup->Signal(); });
}

InterruptibleInput::int_type InterruptibleInput::underflow() {
  while (true) {
    pollfd ready[] = {{.fd = wakeup_->fd(), .events = POLLIN, .revents = 0},
                      {.fd = fd_, .events = POLLIN, .revents = 0}};
    if (poll(ready, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return traits_type::eof();
    }
    if (ready[0].revents != 0) return traits_type::eof();
    const ssize_t bytes = read(fd_, buffer_.data(), buffer_.size());
    if (bytes < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (bytes <= 0) return traits_type::eof();
    setg(buffer_.data(), buffer_.data(), buffer_.data() + bytes);
    return traits_type::to_int_type(buffer_.front());
  }
}

}  // namespace bert::ctl
