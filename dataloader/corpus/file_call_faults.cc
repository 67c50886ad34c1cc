#include "dataloader/corpus/file_call_faults.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>

namespace bert::corpus {
namespace {

std::atomic<int64_t> calls = 0;
int64_t fault_at = 0;
FileCallFault fault_kind = FileCallFault::kNone;

// Whether the call that is being made is to fail.
bool Fails(bool to_be_killed_later = false) {
  const int64_t call = ++calls;
  if (fault_kind == FileCallFault::kKill && call == fault_at && !to_be_killed_later) raise(SIGKILL);
  if (fault_kind != FileCallFault::kDiskFull || call < fault_at) return false;
  errno = ENOSPC;
  return true;
}

}  // namespace

void InjectAtFileCall(int64_t at, FileCallFault fault) {
  fault_at = at;
  fault_kind = fault;
  calls = 0;
}

int64_t FileCalls() { return calls; }

extern "C" {

ssize_t __real_write(int fd, const void* data, size_t size);
ssize_t __real_pwrite(int fd, const void* data, size_t size, off_t position);
int __real_rename(const char* from, const char* to);
int __real_renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned int flags);
int __real_ftruncate(int fd, off_t size);
int __real_unlink(const char* path);

ssize_t __wrap_write(int fd, const void* data, size_t size) {
  if (Fails(/*to_be_killed_later=*/true)) return -1;
  if (fault_kind == FileCallFault::kKill && calls == fault_at) {
    if (__real_write(fd, data, size / 2) >= 0) raise(SIGKILL);
  }
  return __real_write(fd, data, size);
}

ssize_t __wrap_pwrite(int fd, const void* data, size_t size, off_t position) {
  return Fails() ? -1 : __real_pwrite(fd, data, size, position);
}

int __wrap_fsync(int) { return Fails() ? -1 : 0; }

int __wrap_rename(const char* from, const char* to) { return Fails() ? -1 : __real_rename(from, to); }

int __wrap_renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned int flags) {
  return Fails() ? -1 : __real_renameat2(from_fd, from, to_fd, to, flags);
}

int __wrap_ftruncate(int fd, off_t size) {
  Fails();
  return __real_ftruncate(fd, size);
}

int __wrap_unlink(const char* path) {
  Fails();
  return __real_unlink(path);
}

}  // extern "C"

}  // namespace bert::corpus
