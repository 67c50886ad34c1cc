// The bytes of a file in order, as it lies on disk or unpacked.
#ifndef BERT_DATALOADER_DOCUMENTS_BYTE_SOURCE_H_
#define BERT_DATALOADER_DOCUMENTS_BYTE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/digest.h"

namespace bert::documents {

// Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Up to `size` bytes into `out`; 0 only at the end. DATA_LOSS, without a path: the file is cut off or damaged here,
  // and nothing more comes. Any other error: it cannot be read.
  virtual absl::StatusOr<size_t> Read(char* out, size_t size) = 0;
};

// A file as it lies on disk, digested on the way.
class FileSource : public ByteSource {
 public:
  // Errors of common/files.h, with the path.
  static absl::StatusOr<std::unique_ptr<FileSource>> Open(const std::string& path);
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  absl::StatusOr<size_t> Read(char* out, size_t size) override;

  // Read so far.
  int64_t bytes() const { return bytes_; }
  // Size and digest of the whole file; reads what nobody has read.
  absl::StatusOr<FileDigest> Finish();

 private:
  FileSource(std::string path, int fd);

  const std::string path_;
  const int fd_;
  int64_t bytes_ = 0;
  Digester digester_;
};

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_BYTE_SOURCE_H_
