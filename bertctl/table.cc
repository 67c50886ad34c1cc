#include "bertctl/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "bertctl/value_format.h"
#include "common/check.h"

namespace bert::ctl {
namespace {

// Code points: close enough to columns for names and numbers.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string Colored(std::string_view text, Color color, bool enabled) {
  if (!enabled || color == Color::kNone) return std::string(text);
  const char* const code = color == Color::kGreen    ? "32"
                           : color == Color::kYellow ? "33"
                           : color == Color::kRed    ? "31"
                                                     : "2";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

Color ColorOf(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_RUNNING:
    case v1::JOB_STATE_SUCCEEDED:
      return Color::kGreen;
    case v1::JOB_STATE_FAILED:
      return Color::kRed;
    case v1::JOB_STATE_CANCELLED:
      return Color::kDim;
    default:
      return Color::kYellow;
  }
}

void Table::Add(std::vector<Cell> row) {
  BERT_CHECK(row.size() == columns_.size()) << row.size() << " cells in " << columns_.size() << " columns";
  for (Cell& cell : row) cell.text = Printable(cell.text);
  rows_.push_back(std::move(row));
}

std::string Table::Format(bool color, int indent) const {
  std::vector<Cell> titles;
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    titles.push_back({columns_[i].title});
    widths.push_back(Width(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], Width(row[i].text));
  }
  std::string out;
  const auto append = [&](const std::vector<Cell>& row) {
    std::string line(indent, ' ');
    size_t gap = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      // Spaces go before the next text, so that no line ends with them.
      const size_t padding = widths[i] - Width(row[i].text);
      if (columns_[i].align == Align::kRight) gap += padding;
      if (!row[i].text.empty()) {
        line.append(gap, ' ');
        gap = 0;
        line += Colored(row[i].text, row[i].color, color);
      }
      gap += 2 + (columns_[i].align == Align::kLeft ? padding : 0);
    }
    out += line + "\n";
  };
  append(titles);
  for (const auto& row : rows_) append(row);
  return out;
}

}  // namespace bert::ctl
