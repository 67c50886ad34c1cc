#include "dataloader/corpus/staged_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "spdlog/spdlog.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;

absl::Status RemoveContents(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    RETURN_IF_ERROR(RemoveTree(it->path().string()));
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot clear ", directory));
  return absl::OkStatus();
}

// Whether `path` still names the directory behind `fd`: its last owner may have moved or removed it meanwhile.
bool Names(const std::string& path, int fd) {
  struct stat by_path = {};
  struct stat by_fd = {};
  return stat(path.c_str(), &by_path) == 0 && fstat(fd, &by_fd) == 0 && by_path.st_dev == by_fd.st_dev &&
         by_path.st_ino == by_fd.st_ino;
}

}  // namespace

absl::StatusOr<std::string> StagedDirectory::Place(const std::string& path) {
  fs::path place = fs::path(path).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();
  if (place.empty() || !place.has_filename() || place.filename() == "." || place.filename() == "..") {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is no name for a new directory"));
  }
  return place.string();
}

absl::StatusOr<std::unique_ptr<StagedDirectory>> StagedDirectory::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const fs::path place, Place(path));
  if (place.has_parent_path()) RETURN_IF_ERROR(MakeDirectories(place.parent_path().string()));
  const std::string staging_path = place.string() + ".partial";
  while (true) {
    if (mkdir(staging_path.c_str(), 0755) != 0 && errno != EEXIST) {
      return SystemError(errno, absl::StrCat("cannot create ", staging_path));
    }
    const int fd = open(staging_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      if (errno == ENOENT) continue;
      return SystemError(errno, absl::StrCat("cannot open ", staging_path));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(fd);
      if (error != EWOULDBLOCK) return SystemError(error, absl::StrCat("cannot lock ", staging_path));
      return absl::FailedPreconditionError(
          absl::StrCat("another process is building ", place.string(), " (it holds ", staging_path, ")"));
    }
    if (!Names(staging_path, fd)) {
      close(fd);
      continue;
    }
    return std::unique_ptr<StagedDirectory>(new StagedDirectory(place.string(), staging_path, fd));
  }
}

absl::StatusOr<std::unique_ptr<StagedDirectory>> StagedDirectory::Create(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<StagedDirectory> staged, Open(path));
  RETURN_IF_ERROR(staged->Clear());
  return staged;
}

absl::Status StagedDirectory::Clear() { return RemoveContents(staging_path_); }

StagedDirectory::StagedDirectory(std::string path, std::string staging_path, int fd)
    : path_(std::move(path)), staging_path_(std::move(staging_path)), fd_(fd) {}

StagedDirectory::~StagedDirectory() {
  if (fd_ < 0) return;
  if (const absl::Status removed = keep_ ? absl::OkStatus() : RemoveTree(staging_path_); !removed.ok()) {
    spdlog::warn("an unfinished directory is left behind: {}", std::string(removed.message()));
  }
  close(fd_);
}

absl::Status StagedDirectory::Commit() {
  RETURN_IF_ERROR(SyncDirectory(staging_path_));
  std::error_code error;
  if (!fs::exists(path_, error) || fs::is_empty(path_, error)) {
    // rename(2) takes the place of an empty directory.
    RETURN_IF_ERROR(RenameDurably(staging_path_, path_));
    close(std::exchange(fd_, -1));
    return absl::OkStatus();
  }
  if (renameat2(AT_FDCWD, staging_path_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0) {
    return SystemError(errno, absl::StrCat("cannot replace ", path_));
  }
  close(std::exchange(fd_, -1));
  const std::string parent = fs::path(path_).parent_path().string();
  RETURN_IF_ERROR(SyncDirectory(parent.empty() ? "." : parent));
  return RemoveTree(staging_path_);
}

}  // namespace bert::corpus
