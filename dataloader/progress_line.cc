#include "dataloader/progress_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace bert::data {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kLogInterval = absl::Seconds(5);
constexpr double kMegabyte = 1e6;

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
  if (now - last_shown_ < (is_terminal_ ? kTerminalInterval : kLogInterval)) return;
  last_shown_ = now;
  const double seconds = absl::ToDoubleSeconds(now - started_);
  const double megabytes = static_cast<double>(bytes) / kMegabyte;
  const double total = static_cast<double>(bytes_total) / kMegabyte;
  std::string line = absl::StrFormat("%s  %3.0f%%  %.1f of %.1f MB, %.1f MB/s", what_,
                                     total > 0 ? std::min(100.0, 100 * megabytes / total) : 100.0, megabytes, total,
                                     megabytes / seconds);
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
