#include "dataloader/documents/byte_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::documents {

absl::StatusOr<std::unique_ptr<FileSource>> FileSource::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  return std::unique_ptr<FileSource>(new FileSource(path, fd));
}

FileSource::FileSource(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

FileSource::~FileSource() { close(fd_); }

absl::StatusOr<size_t> FileSource::Read(char* out, size_t size) {
  ssize_t got;
  do {
    got = read(fd_, out, size);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return SystemError(errno, absl::StrCat("cannot read ", path_));
  bytes_ += got;
  digester_.Update(std::string_view(out, static_cast<size_t>(got)));
  return static_cast<size_t>(got);
}

absl::StatusOr<FileDigest> FileSource::Finish() {
  std::vector<char> buffer(1 << 18);
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, Read(buffer.data(), buffer.size()));
    if (got == 0) return FileDigest{.bytes = bytes_, .digest = digester_.Finish()};
  }
}

}  // namespace bert::documents
