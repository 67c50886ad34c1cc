// A file as memory.
#ifndef BERT_COMMON_MAPPED_FILE_H_
#define BERT_COMMON_MAPPED_FILE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bert {

// What a read of a page does that the file no longer has: it was truncated, or the disk cannot read it.
enum class PageLoss {
  kEndsProcess,  // By SIGBUS.
  // Reads zeros from then on, and says so in lost(): for servers, which have other files to serve. Whoever reads has to
  // bear zeros, and to ask lost() before believing them.
  kReadsZeros,
};

// A whole file mapped for reading. Movable; the view lives as long as the object. Thread-safe but for moves.
class MappedFile {
 public:
  // NOT_FOUND and the other errors of SystemError, with the path; INVALID_ARGUMENT: not a regular file.
  //
  // The first file with kReadsZeros installs a handler of SIGBUS for the process, which passes on what is not its own.
  static absl::StatusOr<MappedFile> Open(const std::string& path, PageLoss loss = PageLoss::kEndsProcess);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {static_cast<const char*>(address_), size_}; }

  // Whether a page read as zeros for want of the file's. Set before the read returns.
  bool lost() const;
  // Whether any file of this process is lost(); one load, for a look after every read.
  static bool AnyLost();

  struct Watch;

 private:
  MappedFile(void* address, size_t size, Watch* watch) : address_(address), size_(size), watch_(watch) {}

  void* address_ = nullptr;
  size_t size_ = 0;
  Watch* watch_ = nullptr;  // Null with kEndsProcess.
};

}  // namespace bert

#endif  // BERT_COMMON_MAPPED_FILE_H_
