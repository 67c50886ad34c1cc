#include "worker/record/whole_records.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::record {

absl::StatusOr<std::unique_ptr<WholeRecords>> WholeRecords::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  std::unique_ptr<WholeRecords> file(new WholeRecords(path, fd, 0));
  struct stat info = {};
  if (fstat(fd, &info) != 0) return SystemError(errno, absl::StrCat("cannot stat ", path));
  file->size_ = info.st_size;
  return file;
}

WholeRecords::WholeRecords(std::string path, int fd, int64_t size) : path_(std::move(path)), fd_(fd), size_(size) {}

WholeRecords::~WholeRecords() {
  // Best effort: without room for more, there is still room for less.
  if (torn_) CutBack().IgnoreError();
  close(fd_);
}

absl::Status WholeRecords::CutBack() {
  if (ftruncate(fd_, size_) != 0) return SystemError(errno, absl::StrCat("cannot shorten ", path_));
  torn_ = false;
  return absl::OkStatus();
}

absl::Status WholeRecords::Append(std::string_view bytes) {
  if (torn_) RETURN_IF_ERROR(CutBack());
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count =
        pwrite(fd_, bytes.data() + written, bytes.size() - written, size_ + static_cast<int64_t>(written));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const absl::Status error = SystemError(count < 0 ? errno : ENOSPC, absl::StrCat("cannot write ", path_));
      torn_ = true;
      CutBack().IgnoreError();
      return error;
    }
    written += static_cast<size_t>(count);
  }
  size_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

}  // namespace bert::record
