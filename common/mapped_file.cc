#include "common/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/files.h"
#include "common/mutex.h"

namespace bert {

// Where one mapping lies. The signal handler reads these without a lock: they are never freed, only used again.
struct MappedFile::Watch {
  std::atomic<uintptr_t> begin = 0;  // 0: free.
  std::atomic<uintptr_t> end = 0;
  std::atomic<bool> lost = false;
  Watch* next = nullptr;  // Set once, before others can see it.
};

namespace {

std::atomic<MappedFile::Watch*> first_watch = nullptr;
std::atomic<bool> any_lost = false;
struct sigaction action_before = {};

// Hands a fault that is nobody's to whoever had it before; by default it comes again and ends the process.
void PassOn(int signal, siginfo_t* info, void* context) {
  if ((action_before.sa_flags & SA_SIGINFO) != 0) {
    action_before.sa_sigaction(signal, info, context);
  } else if (action_before.sa_handler != SIG_DFL && action_before.sa_handler != SIG_IGN) {
    action_before.sa_handler(signal);
  } else {
    ::signal(SIGBUS, SIG_DFL);
  }
}

// mmap and the atomics here are all that it uses, both safe in a handler.
void HandleBusError(int signal, siginfo_t* info, void* context) {
  const int error_number = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (MappedFile::Watch* watch = first_watch.load(std::memory_order_acquire); watch != nullptr; watch = watch->next) {
    if (address < watch->begin || address >= watch->end) continue;
    const auto page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    void* page = reinterpret_cast<void*>(address / page_bytes * page_bytes);
    watch->lost = true;
    any_lost = true;
    if (mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    errno = error_number;
    return;
  }
  PassOn(signal, info, context);
}

class Watches {
 public:
  Watches() {
    struct sigaction action = {};
    action.sa_sigaction = HandleBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    BERT_CHECK(sigaction(SIGBUS, &action, &action_before) == 0) << "errno " << errno;
  }

  MappedFile::Watch* Add(const void* address, size_t size) {
    MutexLock lock(&mutex_);
    MappedFile::Watch* watch = first_watch;
    while (watch != nullptr && watch->begin != 0) watch = watch->next;
    if (watch == nullptr) {
      watch = new MappedFile::Watch;
      watch->next = first_watch;
      first_watch.store(watch, std::memory_order_release);
    }
    watch->lost = false;
    watch->end = reinterpret_cast<uintptr_t>(address) + size;
    watch->begin = reinterpret_cast<uintptr_t>(address);
    return watch;
  }

  void Remove(MappedFile::Watch* watch) {
    MutexLock lock(&mutex_);
    watch->end = 0;
    watch->begin = 0;
  }

 private:
  Mutex mutex_;
};

// Never destroyed: mappings may outlive main().
Watches& AllWatches() {
  static auto* const kWatches = new Watches;
  return *kWatches;
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path, PageLoss loss) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  const absl::Cleanup close_fd = [fd] { close(fd); };
  struct stat info = {};
  if (fstat(fd, &info) != 0) return SystemError(errno, absl::StrCat("cannot stat ", path));
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  if (info.st_size == 0) return MappedFile(nullptr, 0, nullptr);
  const auto size = static_cast<size_t>(info.st_size);
  void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return SystemError(errno, absl::StrCat("cannot map ", path));
  return MappedFile(address, size, loss == PageLoss::kReadsZeros ? AllWatches().Add(address, size) : nullptr);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      watch_(std::exchange(other.watch_, nullptr)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  std::swap(watch_, other.watch_);
  return *this;
}

MappedFile::~MappedFile() {
  if (watch_ != nullptr) AllWatches().Remove(watch_);
  if (address_ != nullptr) munmap(address_, size_);
}

bool MappedFile::lost() const { return watch_ != nullptr && watch_->lost; }

bool MappedFile::AnyLost() { return any_lost.load(std::memory_order_acquire); }

}  // namespace bert
