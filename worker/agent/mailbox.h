// Work for the agent's loop from other threads.
#ifndef BERT_WORKER_AGENT_MAILBOX_H_
#define BERT_WORKER_AGENT_MAILBOX_H_

#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace bert::agent {

// Any thread posts, one thread runs. Holds at most the answers of the calls under way and one request to stop.
class Mailbox {
 public:
  Mailbox();
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void Post(std::function<void()> work);
  // Readable (poll) while there is something to run.
  int fd() const { return fd_; }
  // Runs everything posted so far, in order, in this thread.
  void RunAll();

 private:
  const int fd_;
  Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_MAILBOX_H_
