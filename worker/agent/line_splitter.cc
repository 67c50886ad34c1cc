#include "worker/agent/line_splitter.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace bert::agent {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the valid UTF-8 sequence at the start of `bytes`, or 0 (Unicode 15, table 3-7).
size_t SequenceLength(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const auto continues = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xBF) {
    return i < bytes.size() && byte(i) >= low && byte(i) <= high;
  };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const uint8_t low = lead == 0xE0 ? 0xA0 : 0x80;
    const uint8_t high = lead == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const uint8_t low = lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string ToValidUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = SequenceLength(bytes);
    text.append(length == 0 ? kReplacement : bytes.substr(0, length));
    bytes.remove_prefix(std::max<size_t>(1, length));
  }
  return text;
}

std::vector<std::string> LineSplitter::Feed(std::string_view bytes) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    const size_t kept = std::min(piece.size(), kLineBytesMax - partial_.size());
    partial_.append(piece.substr(0, kept));
    cut_bytes_ += piece.size() - kept;
    if (end == std::string_view::npos) break;
    lines.push_back(TakeLine());
    bytes.remove_prefix(end + 1);
  }
  return lines;
}

std::vector<std::string> LineSplitter::Finish() {
  if (partial_.empty()) return {};
  return {TakeLine()};
}

std::string LineSplitter::TakeLine() {
  if (cut_bytes_ == 0 && !partial_.empty() && partial_.back() == '\r') partial_.pop_back();
  size_t begin_of_last = partial_.size();
  if (cut_bytes_ > 0) {
    // The cut must not leave the start of a character behind.
    while (begin_of_last > 0 && (static_cast<uint8_t>(partial_[begin_of_last - 1]) & 0xC0) == 0x80) --begin_of_last;
    if (begin_of_last > 0) --begin_of_last;
    if (SequenceLength(std::string_view(partial_).substr(begin_of_last)) == 0) {
      cut_bytes_ += partial_.size() - begin_of_last;
      partial_.resize(begin_of_last);
    }
  }
  std::string line = ToValidUtf8(partial_);
  if (cut_bytes_ > 0) absl::StrAppend(&line, " … [", cut_bytes_, " bytes cut]");
  partial_.clear();
  cut_bytes_ = 0;
  return line;
}

}  // namespace bert::agent
