// Aligned columns.
#ifndef BERT_BERTCTL_TABLE_H_
#define BERT_BERTCTL_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "bert/v1/jobs.pb.h"

namespace bert::ctl {

enum class Color { kNone, kGreen, kYellow, kRed, kDim };

// `text` between the terminal's codes for `color`; unchanged where `enabled` is false.
std::string Colored(std::string_view text, Color color, bool enabled);

Color ColorOf(v1::JobState state);

struct Cell {
  std::string text;
  Color color = Color::kNone;
};

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

// Two spaces between columns, none behind the last. Control characters are made harmless.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns.
  void Add(std::vector<Cell> row);
  bool empty() const { return rows_.empty(); }
  // Each line starts with `indent` spaces and ends with a newline.
  std::string Format(bool color, int indent = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_TABLE_H_
