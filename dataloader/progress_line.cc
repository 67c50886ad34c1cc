#include "dataloader/progress_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace bert::data {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kLogInterval = absl::Seconds(5);

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
  if (now - last_shown_ < (is_terminal_ ? kTerminalInterval : kLogInterval)) return;
  last_shown_ = now;
  const double seconds = absl::ToDoubleSeconds(now - started_);
  const double units = static_cast<double>(done) / unit_.size;
  const double units_total = static_cast<double>(total) / unit_.size;
  std::string line = absl::StrFormat(
      "%s  %3.0f%%  %.*f of %.*f %s, %.*f %s/s", what_, total > 0 ? std::min(100.0, 100 * units / units_total) : 100.0,
      unit_.digits, units, unit_.digits, units_total, unit_.name, unit_.digits, units / seconds, unit_.name);
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
