// One rank's log on disk, bounded in size.
#ifndef BERT_WORKER_AGENT_LOG_FILE_H_
#define BERT_WORKER_AGENT_LOG_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bert::agent {

// Lines go to `path`; when it would pass half of `bytes_max` it becomes `path`.1, over the former one, and a new file
// begins. So the newest lines are always there and the two files together stay below `bytes_max`. Not thread-safe.
class LogFile {
 public:
  // Makes the directories above `path`. Continues a file that is there.
  static absl::StatusOr<std::unique_ptr<LogFile>> Open(const std::string& path, int64_t bytes_max);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // `line` without its line end. After an error (a full disk) later lines may succeed again.
  absl::Status Append(std::string_view line);

  const std::string& path() const { return path_; }

 private:
  LogFile(std::string path, int64_t bytes_max, int fd, int64_t bytes)
      : path_(std::move(path)), bytes_max_(bytes_max), fd_(fd), bytes_(bytes) {}
  absl::Status Rotate();

  const std::string path_;
  const int64_t bytes_max_;
  int fd_;
  int64_t bytes_;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_LOG_FILE_H_
