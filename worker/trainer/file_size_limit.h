// A full disk for tests, without one.
#ifndef BERT_WORKER_TRAINER_FILE_SIZE_LIMIT_H_
#define BERT_WORKER_TRAINER_FILE_SIZE_LIMIT_H_

#include <signal.h>
#include <sys/resource.h>

namespace bert::trainer {

// While it lives, no file of this process can grow past `bytes`: writing fails as it does where the disk is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_ = {};
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_FILE_SIZE_LIMIT_H_
