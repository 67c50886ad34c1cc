// Standard input that a signal can end.
#ifndef BERT_BERTCTL_INTERRUPTIBLE_INPUT_H_
#define BERT_BERTCTL_INTERRUPTIBLE_INPUT_H_

#include <array>
#include <memory>
#include <streambuf>

#include "common/shutdown.h"

namespace bert::ctl {

// Reads a file descriptor until its end, an error, or a signal: after that there is no more input. A plain read would
// go on waiting for a pipe or a terminal, since the signals are blocked and interrupt nothing. Not thread-safe.
class InterruptibleInput : public std::streambuf {
 public:
  // `fd` stays the caller's; both outlive this.
  InterruptibleInput(int fd, ShutdownSignal& shutdown);

 protected:
  int_type underflow() override;

 private:
  class Wakeup;

  const int fd_;
  // Readable once a signal has come. Shared with the signal's callback, which may outlive this.
  const std::shared_ptr<Wakeup> wakeup_;
  std::array<char, 4096> buffer_;
};

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_INTERRUPTIBLE_INPUT_H_
