// The dataloaders that are known to live now.
#ifndef BERT_WORKER_TRAINER_LOADER_LIST_H_
#define BERT_WORKER_TRAINER_LOADER_LIST_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace bert::trainer {

// Which of `loaders` a rank asks at its attempt-th attempt, from 0: neighbouring ranks begin at neighbouring loaders,
// and those that a lost loader leaves behind go on at different ones. Any `loaders` attempts in a row ask each once.
constexpr size_t LoaderOf(size_t rank, size_t attempt, size_t loaders) {
  const size_t first = rank % loaders;
  const size_t turn = attempt % loaders;
  return turn == 0 ? first : (first + 1 + (rank / loaders + turn - 1) % (loaders - 1)) % loaders;
}

// Thread-safe.
class LoaderList {
 public:
  explicit LoaderList(std::vector<std::string> addresses) : addresses_(std::move(addresses)) {}

  std::vector<std::string> Get() const {
    MutexLock lock(&mutex_);
    return addresses_;
  }

  // An empty list changes nothing: a coordinator that has just started has heard of no loader yet.
  void Update(const std::vector<std::string>& addresses) {
    MutexLock lock(&mutex_);
    if (!addresses.empty()) addresses_ = addresses;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::string> addresses_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_LOADER_LIST_H_
