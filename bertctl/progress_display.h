// Shows a job's progress while it is watched.
#ifndef BERT_BERTCTL_PROGRESS_DISPLAY_H_
#define BERT_BERTCTL_PROGRESS_DISPLAY_H_

#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "bertctl/progress_line.h"
#include "common/clock.h"

namespace bert::ctl {

// On a terminal one live line, with what should stay above it; elsewhere a line every few seconds. Not thread-safe.
class ProgressDisplay {
 public:
  // All outlive it. `width` answers the terminal's columns, 0 where unknown.
  ProgressDisplay(std::ostream& out, bool is_terminal, std::function<int()> width, Clock& clock)
      : out_(out), is_terminal_(is_terminal), width_(std::move(width)), clock_(clock) {}

  void Show(const v1::Job& job);
  // A line of another's, kept clear of the live one.
  void Note(const std::string& text);
  // Ends the live line. Call before anything else is written.
  void Close();

 private:
  void Permanent(const std::string& line);

  std::ostream& out_;
  const bool is_terminal_;
  const std::function<int()> width_;
  Clock& clock_;
  Pace pace_;
  std::optional<v1::Job> last_;
  std::string live_line_;
  std::string last_printed_;
  absl::Duration last_printed_at_ = -absl::InfiniteDuration();
};

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_PROGRESS_DISPLAY_H_
