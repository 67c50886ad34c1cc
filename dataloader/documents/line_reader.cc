#include "dataloader/documents/line_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace bert::documents {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

}  // namespace

LineReader::LineReader(ByteSource* source) : source_(source), buffer_(kBufferBytes + kPaddingBytes, '\0') {}

absl::StatusOr<bool> LineReader::Next(std::string_view* line) {
  size_t searched = 0;
  while (true) {
    const char* begin = buffer_.data() + begin_;
    const size_t size = end_ - begin_;
    const void* newline = size > searched ? std::memchr(begin + searched, '\n', size - searched) : nullptr;
    if (newline != nullptr) {
      const auto length = static_cast<size_t>(static_cast<const char*>(newline) - begin);
      *line = std::string_view(begin, length);
      begin_ += length + 1;
      ++line_number_;
      return true;
    }
    if (size > kLineBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line_number_ + 1, " has more than ", kLineBytesMax >> 20, " MiB; is this text?"));
    }
    searched = size;
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (more) continue;
    if (size == 0) return false;
    *line = std::string_view(buffer_.data() + begin_, size);
    begin_ = end_;
    ++line_number_;
    return true;
  }
}

absl::StatusOr<bool> LineReader::Fill() {
  if (at_end_) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ + kPaddingBytes == buffer_.size()) buffer_.resize(2 * end_ + kPaddingBytes);
  ASSIGN_OR_RETURN(const size_t got, source_->Read(buffer_.data() + end_, buffer_.size() - kPaddingBytes - end_));
  end_ += got;
  at_end_ = got == 0;
  return !at_end_;
}

}  // namespace bert::documents
