#include "worker/record/chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace bert::record {
namespace {

constexpr double kWidth = 960;
constexpr double kHeight = 540;
constexpr double kLeft = 88;
constexpr double kRight = 24;
constexpr double kTop = 76;
constexpr double kBottom = 64;
constexpr int kTicks = 6;

// Colours that keep their distance on white and on black, for colour-blind readers too.
constexpr char kStyle[] = R"(<style>
svg { background: #ffffff; color: #1f2328; font: 14px system-ui, sans-serif; }
text { fill: currentColor; }
.title { font-size: 18px; font-weight: 600; }
.grid { stroke: currentColor; stroke-opacity: 0.15; }
.axis { stroke: currentColor; stroke-opacity: 0.6; }
.level { stroke: currentColor; stroke-opacity: 0.6; stroke-dasharray: 6 5; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line0 { stroke: #0969da; } .fill0 { fill: #0969da; }
.line1 { stroke: #bc4c00; } .fill1 { fill: #bc4c00; }
.line2 { stroke: #1a7f37; } .fill2 { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; color: #e6edf3; }
.line0 { stroke: #58a6ff; } .fill0 { fill: #58a6ff; }
.line1 { stroke: #f0883e; } .fill1 { fill: #f0883e; }
.line2 { stroke: #56d364; } .fill2 { fill: #56d364; }
}
</style>
)";

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// One axis: where its ticks are, and what is where.
class Axis {
 public:
  // Pixels from `begin` to `end` for values from `low` to `high`, widened to whole ticks.
  Axis(double low, double high, double begin, double end) : begin_(begin), end_(end) {
    if (!(high > low)) {
      const double margin = std::max(std::abs(low) * 0.1, 1e-6);
      low -= margin;
      high += margin;
    }
    const double rough = (high - low) / kTicks;
    const double magnitude = std::pow(10, std::floor(std::log10(rough)));
    spacing_ = magnitude * 10;
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (rough > factor * magnitude * (1 + 1e-9)) continue;
      spacing_ = factor * magnitude;
      break;
    }
    first_ = std::floor(low / spacing_ + 1e-9);
    last_ = std::ceil(high / spacing_ - 1e-9);
  }

  double At(double value) const {
    return begin_ + (end_ - begin_) * (value / spacing_ - first_) / std::max(last_ - first_, 1.0);
  }

  template <typename Use>
  void ForEachTick(Use use) const {
    for (double tick = first_; tick <= last_; ++tick) use(tick * spacing_, Label(tick * spacing_));
  }

 private:
  std::string Label(double value) const {
    if (std::abs(value) < spacing_ / 2) return "0";
    if (std::abs(value) >= 1e6 || spacing_ < 1e-4) return absl::StrFormat("%.3g", value);
    return absl::StrFormat("%.*f", std::max(0, static_cast<int>(std::ceil(-std::log10(spacing_) - 1e-9))), value);
  }

  const double begin_;
  const double end_;
  double spacing_ = 1;
  double first_ = 0;
  double last_ = 1;
};

struct Range {
  double low = 0;
  double high = 0;
  bool empty = true;

  void Add(double value) {
    low = empty ? value : std::min(low, value);
    high = empty ? value : std::max(high, value);
    empty = false;
  }
};

std::string Text(double x, double y, const char* anchor, const std::string& text, const char* more = "") {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor, more,
                         Escape(text));
}

std::string Line(const char* style, double x1, double y1, double x2, double y2) {
  return absl::StrFormat("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", style, x1, y1, x2,
                         y2);
}

std::string Curve(const ChartLine& line, size_t number, const Axis& x, const Axis& y) {
  std::string points;
  std::string dots;
  for (const ChartPoint& point : line.points) {
    absl::StrAppendFormat(&points, "%.1f,%.1f ", x.At(point.x), y.At(point.y));
    if (line.marked) {
      absl::StrAppendFormat(&dots, "<circle class=\"fill%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>\n", number,
                            x.At(point.x), y.At(point.y));
    }
  }
  return absl::StrFormat("<polyline class=\"line line%d\" points=\"%s\"/>\n%s", number, points, dots);
}

std::string Legend(const Chart& chart) {
  constexpr double kY = 56;
  constexpr double kStroke = 28;
  // Of a letter, roughly: nothing measures text here.
  constexpr double kLetter = 7.6;
  std::string out;
  double at = kLeft;
  const auto add = [&](const std::string& style, const std::string& name) {
    out += Line(style.c_str(), at, kY - 5, at + kStroke, kY - 5);
    out += Text(at + kStroke + 8, kY, "start", name);
    at += kStroke + 8 + kLetter * static_cast<double>(name.size()) + 24;
  };
  for (size_t i = 0; i < chart.lines.size(); ++i) add(absl::StrCat("line line", i), chart.lines[i].name);
  if (chart.level.has_value()) add("level", absl::StrFormat("%s (%.4g)", chart.level_name, *chart.level));
  return out;
}

}  // namespace

void ThinnedLine::Add(double x, double y) {
  if (!std::isfinite(x) || !std::isfinite(y)) return;
  if (sums_.empty()) sums_.emplace_back();
  if (sums_.back().count == per_point_) {
    if (sums_.size() == points_max_) {
      std::vector<Sum> merged((sums_.size() + 1) / 2);
      for (size_t i = 0; i < sums_.size(); ++i) {
        merged[i / 2].x += sums_[i].x;
        merged[i / 2].y += sums_[i].y;
        merged[i / 2].count += sums_[i].count;
      }
      sums_ = std::move(merged);
      per_point_ *= 2;
    }
    if (sums_.back().count >= per_point_) sums_.emplace_back();
  }
  sums_.back().x += x;
  sums_.back().y += y;
  ++sums_.back().count;
}

std::vector<ChartPoint> ThinnedLine::Points() const {
  std::vector<ChartPoint> points;
  for (const Sum& sum : sums_) {
    points.push_back({sum.x / static_cast<double>(sum.count), sum.y / static_cast<double>(sum.count)});
  }
  return points;
}

std::string DrawSvg(const Chart& chart) {
  Range x_range;
  Range y_range;
  for (const ChartLine& line : chart.lines) {
    for (const ChartPoint& point : line.points) {
      x_range.Add(point.x);
      y_range.Add(point.y);
    }
  }
  const bool empty = x_range.empty;
  if (chart.level.has_value()) y_range.Add(*chart.level);
  // Steps begin at 0, and so do rates.
  x_range.Add(0);
  if (y_range.empty || (y_range.low > 0 && y_range.low < y_range.high / 2)) y_range.Add(0);
  const Axis x(x_range.low, x_range.high, kLeft, kWidth - kRight);
  const Axis y(y_range.low, y_range.high, kHeight - kBottom, kTop);

  std::string out = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
      "role=\"img\">\n<title>%s</title>\n%s",
      kWidth, kHeight, kWidth, kHeight, Escape(chart.title), kStyle);
  out += Text(kLeft, 28, "start", chart.title, " class=\"title\"");
  out += Legend(chart);
  x.ForEachTick([&](double value, const std::string& label) {
    out += Line("grid", x.At(value), kTop, x.At(value), kHeight - kBottom);
    out += Text(x.At(value), kHeight - kBottom + 22, "middle", label);
  });
  y.ForEachTick([&](double value, const std::string& label) {
    out += Line("grid", kLeft, y.At(value), kWidth - kRight, y.At(value));
    out += Text(kLeft - 10, y.At(value) + 5, "end", label);
  });
  out += Line("axis", kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom);
  out += Line("axis", kLeft, kTop, kLeft, kHeight - kBottom);
  out += Text((kLeft + kWidth - kRight) / 2, kHeight - 16, "middle", chart.x_label);
  const double middle = (kTop + kHeight - kBottom) / 2;
  out +=
      Text(20, middle, "middle", chart.y_label, absl::StrFormat(" transform=\"rotate(-90 20 %.1f)\"", middle).c_str());
  if (chart.level.has_value()) out += Line("level", kLeft, y.At(*chart.level), kWidth - kRight, y.At(*chart.level));
  for (size_t i = 0; i < chart.lines.size(); ++i) out += Curve(chart.lines[i], i, x, y);
  if (empty) out += Text((kLeft + kWidth - kRight) / 2, middle, "middle", "no points");
  return out + "</svg>\n";
}

}  // namespace bert::record
