#include "bertctl/progress_display.h"

#include "bertctl/exit_code.h"

namespace bert::ctl {
namespace {

constexpr absl::Duration kLineInterval = absl::Seconds(5);
// Back to the line's start, and clear to its end.
constexpr char kClearLine[] = "\r\x1b[K";

}  // namespace

void ProgressDisplay::Permanent(const std::string& line) {
  if (is_terminal_) out_ << kClearLine;
  out_ << line << "\n";
  if (is_terminal_) out_ << live_line_;
  out_.flush();
}

void ProgressDisplay::Note(const std::string& text) { Permanent(text); }

void ProgressDisplay::Show(const v1::Job& job) {
  pace_.Observe(job);
  for (const std::string& note : ProgressNotes(last_ ? &*last_ : nullptr, job)) Permanent(note);
  const bool state_changed = !last_ || last_->state() != job.state();
  last_ = job;
  if (HasEnded(job.state())) return;
  if (is_terminal_) {
    // The last column stays free: some terminals wrap when it is filled.
    live_line_ = ProgressLine(job, pace_.step_duration(), width_() - 1);
    out_ << kClearLine << live_line_;
    out_.flush();
    return;
  }
  const std::string line = ProgressLine(job, pace_.step_duration(), 0);
  const absl::Duration now = clock_.Monotonic();
  if (line == last_printed_ || (!state_changed && now - last_printed_at_ < kLineInterval)) return;
  last_printed_ = line;
  last_printed_at_ = now;
  Permanent(line);
}

void ProgressDisplay::Close() {
  if (is_terminal_ && !live_line_.empty()) out_ << kClearLine;
  live_line_.clear();
  out_.flush();
}

}  // namespace bert::ctl
