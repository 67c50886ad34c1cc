// Text that must fit.
#ifndef BERT_COORDINATOR_TEXT_H_
#define BERT_COORDINATOR_TEXT_H_

#include <cstddef>
#include <string>

namespace bert::coordinator {

// The first `bytes_max` bytes of valid UTF-8, or up to three fewer, so that no character is cut in two: a protobuf
// string that ends in half a character cannot be read.
inline std::string CutText(const std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  // Continuation bytes are 10xxxxxx.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_TEXT_H_
