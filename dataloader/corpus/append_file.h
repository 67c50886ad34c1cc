// A file that grows at its end and can be cut back to a point that is known to be on the disk.
#ifndef BERT_DATALOADER_CORPUS_APPEND_FILE_H_
#define BERT_DATALOADER_CORPUS_APPEND_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bert::corpus {

// Buffers a megabyte. Errors of common/files.h, with the path; after one the file's content is unknown and every
// further call gives it again. Not thread-safe.
class AppendFile {
 public:
  // A new file, in place of one that is there.
  static absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path);
  // The file's first `bytes` bytes; what is behind them is cut off. DATA_LOSS: it has fewer. NOT_FOUND: it is not
  // there.
  static absl::StatusOr<std::unique_ptr<AppendFile>> Reopen(const std::string& path, int64_t bytes);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  const std::string& path() const { return path_; }
  // All that was appended, buffered or not.
  int64_t bytes() const { return bytes_; }

  absl::Status Append(const void* data, size_t size);
  // Hands what is buffered to the system.
  absl::Status Flush();
  // Flush(), and the disk has it.
  absl::Status Sync();
  // Writes over what lies at `position`, inside of what was appended.
  absl::Status Overwrite(int64_t position, const void* data, size_t size);
  // All `size` bytes at `position`. Flush() first.
  absl::Status ReadAt(int64_t position, void* data, size_t size);

 private:
  AppendFile(std::string path, int fd, int64_t bytes);

  const std::string path_;
  const int fd_;
  int64_t bytes_;
  std::string buffer_;
  absl::Status status_;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_APPEND_FILE_H_
