#include "worker/agent/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::agent {
namespace {

int OpenForAppend(const std::string& path) {
  return open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogFile>> LogFile::Open(const std::string& path, int64_t bytes_max) {
  RETURN_IF_ERROR(MakeDirectories(path.substr(0, path.rfind('/'))));
  const int fd = OpenForAppend(path);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  struct stat status = {};
  fstat(fd, &status);
  return std::unique_ptr<LogFile>(new LogFile(path, bytes_max, fd, status.st_size));
}

LogFile::~LogFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status LogFile::Append(std::string_view line) {
  const std::string content = std::string(line) + "\n";
  const int64_t size = static_cast<int64_t>(content.size());
  if (fd_ < 0 || (bytes_ > 0 && bytes_ + size > bytes_max_ / 2)) RETURN_IF_ERROR(Rotate());
  const ssize_t written = write(fd_, content.data(), content.size());
  if (written > 0) bytes_ += written;
  if (written != size) return SystemError(written < 0 ? errno : ENOSPC, absl::StrCat("cannot write ", path_));
  return absl::OkStatus();
}

absl::Status LogFile::Rotate() {
  if (fd_ >= 0) {
    close(fd_);
    fd_ = -1;
    const std::string former = path_ + ".1";
    if (rename(path_.c_str(), former.c_str()) != 0) return SystemError(errno, absl::StrCat("cannot rename ", path_));
  }
  fd_ = OpenForAppend(path_);
  if (fd_ < 0) return SystemError(errno, absl::StrCat("cannot open ", path_));
  bytes_ = 0;
  return absl::OkStatus();
}

}  // namespace bert::agent
