// Bytes of a program's output to lines that fit a log.
#ifndef BERT_WORKER_AGENT_LINE_SPLITTER_H_
#define BERT_WORKER_AGENT_LINE_SPLITTER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bert::agent {

// The longest line that is kept; what follows is cut and its length is named in its place.
inline constexpr size_t kLineBytesMax = 8 << 10;

// Invalid UTF-8 replaced by U+FFFD (one for each byte that fits nowhere): a Protobuf string must be valid.
std::string ToValidUtf8(std::string_view bytes);

// Holds one unfinished line, at most kLineBytesMax of it. Not thread-safe.
class LineSplitter {
 public:
  // The lines that `bytes` completes, without their line ends (\n or \r\n), valid UTF-8.
  std::vector<std::string> Feed(std::string_view bytes);
  // The unfinished line, if there is one; the program has ended.
  std::vector<std::string> Finish();

 private:
  std::string TakeLine();

  std::string partial_;
  size_t cut_bytes_ = 0;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_LINE_SPLITTER_H_
