// Progress of a command that reads a lot.
#ifndef BERT_DATALOADER_PROGRESS_LINE_H_
#define BERT_DATALOADER_PROGRESS_LINE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "common/clock.h"

namespace bert::data {

// What is counted: its name, how many make one of it, and the digits shown behind the point.
struct ProgressUnit {
  const char* name;
  double size;
  int digits;
};

// "tokenizing  [########------------]  42%  6.5 of 15.5 MB  8.1 MB/s  ETA 1m52s": on a terminal one line written over
// ten times a second, else a line without the bar every five seconds. The speed is that since the first update, which
// may come at a later point than the start. Not thread-safe.
class ProgressLine {
 public:
  ProgressLine(std::string what, std::ostream& err, bool is_terminal, Clock& clock,
               ProgressUnit unit = {.name = "MB", .size = 1e6, .digits = 1});
  // Clears the line on a terminal.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Update(int64_t done, int64_t total);

 private:
  const std::string what_;
  std::ostream& err_;
  const bool is_terminal_;
  Clock& clock_;
  const ProgressUnit unit_;
  absl::Duration started_;
  std::optional<int64_t> first_done_;
  absl::Duration last_shown_;
  size_t width_ = 0;
};

}  // namespace bert::data

#endif  // BERT_DATALOADER_PROGRESS_LINE_H_
