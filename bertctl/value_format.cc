#include "bertctl/value_format.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "common/spec/job_spec.h"

namespace bert::ctl {

std::string FormatAge(absl::Duration age) {
  if (age < absl::ZeroDuration()) age = absl::ZeroDuration();
  const int64_t seconds = absl::ToInt64Seconds(age);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d{:02}h", seconds / 86400, seconds / 3600 % 24);
}

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::string FormatAge(const google::protobuf::Timestamp& time, absl::Time now) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  return FormatAge(now - ToTime(time));
}

std::string FormatTime(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", ToTime(time), absl::UTCTimeZone());
}

std::string FormatCount(int64_t count) {
  const std::string digits = fmt::format("{}", count);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    const size_t behind = digits.size() - i;
    if (i > 0 && behind % 3 == 0 && digits[i - 1] != '-') out.push_back(',');
    out.push_back(digits[i]);
  }
  return out;
}

std::string FormatRate(double per_second) {
  return std::isfinite(per_second) && std::abs(per_second) < 1e15 ? FormatCount(std::llround(per_second)) : "-";
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatLoss(double loss) { return fmt::format("{:.4f}", loss); }

std::string FormatShare(double share) { return fmt::format("{:.1f}%", 100 * share); }

std::string StateName(v1::JobState state) {
  const auto* value = v1::JobState_descriptor()->FindValueByNumber(state);
  return value == nullptr ? fmt::format("{}", static_cast<int>(state))
                          : absl::AsciiStrToUpper(spec::EnumValueName(*value));
}

std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) c = '?';
  }
  return out;
}

int64_t TotalSteps(const v1::Job& job) {
  const int64_t counted = job.last_step().total_steps();
  return counted > 0 ? counted : job.spec().train().steps();
}

std::string FormatTotalSteps(const v1::Job& job) {
  const int64_t steps = TotalSteps(job);
  return steps > 0 ? FormatCount(steps) : "?";
}

}  // namespace bert::ctl
