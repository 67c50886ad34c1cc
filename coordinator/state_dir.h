// The directory in which one coordinator keeps its journal and history.
#ifndef BERT_COORDINATOR_STATE_DIR_H_
#define BERT_COORDINATOR_STATE_DIR_H_

#include <string>

#include "absl/status/statusor.h"

namespace bert::coordinator {

// Holds a lock on the directory until destroyed; the kernel releases it when the process dies, however that happens.
// Movable.
class StateDir {
 public:
  // Creates the directory where it is missing. FAILED_PRECONDITION: another coordinator holds it (its process id is
  // named). Else what mkdir and open answer.
  static absl::StatusOr<StateDir> Lock(const std::string& path);

  StateDir(StateDir&& other) noexcept;
  StateDir& operator=(StateDir&& other) noexcept;
  ~StateDir();

  std::string journal_path() const { return path_ + "/journal.sqlite"; }
  std::string history_path() const { return path_ + "/history.sqlite"; }

 private:
  StateDir(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_ = -1;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_STATE_DIR_H_
