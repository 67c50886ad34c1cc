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
constexpr double kMegabyte = 1e6;
constexpr int kBarWidth = 20;

std::string Bar(double share) {
  const auto filled = static_cast<size_t>(share * kBarWidth);
  return "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '-') + "]";
}

}  // namespace

ProgressLine::ProgressLine(std::string what, std::ostream& err, bool is_terminal, Clock& clock)
    : what_(std::move(what)),
      err_(err),
      is_terminal_(is_terminal),
      clock_(clock),
      started_(clock.Monotonic()),
      last_shown_(started_) {}

ProgressLine::~ProgressLine() {
  if (width_ > 0) err_ << '\r' << std::string(width_, ' ') << '\r' << std::flush;
}

void ProgressLine::Update(int64_t bytes, int64_t bytes_total) {
  const absl::Duration now = clock_.Monotonic();
  if (!first_bytes_) {
    first_bytes_ = bytes;
    started_ = now;
  }
  if (now - last_shown_ < (is_terminal_ ? kTerminalInterval : kLogInterval)) return;
  last_shown_ = now;
  const double share =
      bytes_total > 0 ? std::min(1.0, static_cast<double>(bytes) / static_cast<double>(bytes_total)) : 1.0;
  const double seconds = absl::ToDoubleSeconds(now - started_);
  const double bytes_per_second = seconds > 0 ? static_cast<double>(bytes - *first_bytes_) / seconds : 0;
  std::string line = what_ + "  ";
  if (is_terminal_) line += Bar(share) + "  ";
  absl::StrAppendFormat(&line, "%3.0f%%  %.1f of %.1f MB  %.1f MB/s", 100 * share,
                        static_cast<double>(bytes) / kMegabyte, static_cast<double>(bytes_total) / kMegabyte,
                        bytes_per_second / kMegabyte);
  if (bytes_per_second > 0) {
    const double left = static_cast<double>(std::max<int64_t>(0, bytes_total - bytes)) / bytes_per_second;
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
