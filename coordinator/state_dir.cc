#include "coordinator/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::coordinator {

absl::StatusOr<StateDir> StateDir::Lock(const std::string& path) {
  RETURN_IF_ERROR(MakeDirectories(path));
  const std::string lock_path = path + "/lock";
  const int fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", lock_path));
  StateDir directory(path, fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemError(errno, absl::StrCat("cannot lock ", lock_path));
    const auto holder = ReadFile(lock_path);
    return absl::FailedPreconditionError(
        absl::StrCat("state directory ", path, " is in use by another bert-coordinator",
                     holder.ok() && !holder->empty()
                         ? absl::StrCat(" (process ", absl::string_view(absl::StripAsciiWhitespace(*holder)), ")")
                         : "",
                     "; end it, or choose another --state-dir"));
  }
  // For the message above only: on a full disk the lock still holds.
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) return directory;
  return directory;
}

StateDir::StateDir(StateDir&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

StateDir& StateDir::operator=(StateDir&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

StateDir::~StateDir() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace bert::coordinator
