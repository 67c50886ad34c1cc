#include "dataloader/progress_line.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bert::data {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kLogInterval = absl::Seconds(5);
constexpr int kBarWidth = 20;

std::string Bar(double share) {
  const auto filled = static_cast<size_t>(share * kBarWidth);
  return "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '-') + "]";
}

}  // namespace

ProgressLine::ProgressLine(std::string what, std::ostream& err, bool is_terminal, Clock& clock, ProgressUnit unit)
    : what_(std::move(what)),
      err_(err),
      is_terminal_(is_terminal),
      clock_(clock),
      unit_(unit),
      started_(clock.Monotonic()),
      last_shown_(started_) {}

ProgressLine::~ProgressLine() {
  if (width_ > 0) err_ << '\r' << std::string(width_, ' ') << '\r' << std::flush;
}

void ProgressLine::Update(int64_t done, int64_t total) {
  const absl::Duration now = clock_.Monotonic();
  if (!first_done_) {
    first_done_ = done;
    started_ = now;
  }
  if (now - last_shown_ < (is_terminal_ ? kTerminalInterval : kLogInterval)) return;
  last_shown_ = now;
  const double share = total > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total)) : 1.0;
  const double seconds = absl::ToDoubleSeconds(now - started_);
  const double per_second = seconds > 0 ? static_cast<double>(done - *first_done_) / seconds : 0;
  std::string line = what_ + "  ";
  if (is_terminal_) line += Bar(share) + "  ";
  absl::StrAppendFormat(&line, "%3.0f%%  %.*f of %.*f %s  %.*f %s/s", 100 * share, unit_.digits,
                        static_cast<double>(done) / unit_.size, unit_.digits, static_cast<double>(total) / unit_.size,
                        unit_.name, unit_.digits, per_second / unit_.size, unit_.name);
  if (per_second > 0) {
    const double left = static_cast<double>(std::max<int64_t>(0, total - done)) / per_second;
    absl::StrAppend(&line, "  ETA ", absl::FormatDuration(absl::Seconds(std::ceil(left))));
  }
  if (!is_terminal_) {
    err_ << line << '\n' << std::flush;
    return;
  }
  const size_t width = line.size();
  if (width < width_) line.append(width_ - width, ' ');
  width_ = width;
  err_ << '\r' << line << std::flush;
}

}  // namespace bert::data
