#include "dataloader/corpus/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::corpus {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<AppendFile>> AppendFile::Create(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot create ", path));
  return std::unique_ptr<AppendFile>(new AppendFile(path, fd, 0));
}

absl::StatusOr<std::unique_ptr<AppendFile>> AppendFile::Reopen(const std::string& path, int64_t bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  std::unique_ptr<AppendFile> file(new AppendFile(path, fd, bytes));
  struct stat info = {};
  if (fstat(fd, &info) != 0) return SystemError(errno, absl::StrCat("cannot stat ", path));
  if (info.st_size < bytes) {
    return absl::DataLossError(absl::StrCat(path, ": has ", info.st_size, " bytes, and once had ", bytes));
  }
  if (ftruncate(fd, bytes) != 0) return SystemError(errno, absl::StrCat("cannot shorten ", path));
  if (lseek(fd, bytes, SEEK_SET) != bytes) return SystemError(errno, absl::StrCat("cannot seek in ", path));
  return file;
}

AppendFile::AppendFile(std::string path, int fd, int64_t bytes) : path_(std::move(path)), fd_(fd), bytes_(bytes) {
  buffer_.reserve(kBufferBytes);
}

AppendFile::~AppendFile() { close(fd_); }

absl::Status AppendFile::Append(const void* data, size_t size) {
  RETURN_IF_ERROR(status_);
  buffer_.append(static_cast<const char*>(data), size);
  bytes_ += static_cast<int64_t>(size);
  return buffer_.size() >= kBufferBytes ? Flush() : absl::OkStatus();
}

absl::Status AppendFile::Flush() {
  RETURN_IF_ERROR(status_);
  size_t written = 0;
  while (written < buffer_.size()) {
    const ssize_t count = write(fd_, buffer_.data() + written, buffer_.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return status_ = SystemError(errno, absl::StrCat("cannot write ", path_));
    written += static_cast<size_t>(count);
  }
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status AppendFile::Sync() {
  RETURN_IF_ERROR(Flush());
  if (fsync(fd_) != 0) return status_ = SystemError(errno, absl::StrCat("cannot sync ", path_));
  return absl::OkStatus();
}

absl::Status AppendFile::Overwrite(int64_t position, const void* data, size_t size) {
  RETURN_IF_ERROR(Flush());
  const ssize_t count = pwrite(fd_, data, size, position);
  if (count == static_cast<ssize_t>(size)) return absl::OkStatus();
  return status_ = SystemError(count < 0 ? errno : EIO, absl::StrCat("cannot write ", path_));
}

absl::Status AppendFile::ReadAt(int64_t position, void* data, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t count = pread(fd_, static_cast<char*>(data) + done, size - done, position + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return SystemError(count < 0 ? errno : EIO, absl::StrCat("cannot read ", path_));
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace bert::corpus
