// Line charts as SVG files that need nothing else: readable in light and in dark.
#ifndef BERT_WORKER_RECORD_CHART_H_
#define BERT_WORKER_RECORD_CHART_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bert::record {

struct ChartPoint {
  double x = 0;
  double y = 0;
};

// At most `points_max` points of any number of them, each the mean of as many neighbours. Points that are not finite
// are left out.
class ThinnedLine {
 public:
  explicit ThinnedLine(size_t points_max = 1000) : points_max_(points_max) {}

  void Add(double x, double y);
  std::vector<ChartPoint> Points() const;

 private:
  struct Sum {
    double x = 0;
    double y = 0;
    int64_t count = 0;
  };

  const size_t points_max_;
  int64_t per_point_ = 1;
  std::vector<Sum> sums_;
};

struct ChartLine {
  std::string name;
  std::vector<ChartPoint> points;  // By ascending x.
  bool marked = false;             // With a dot on each point.
};

struct Chart {
  std::string title;
  std::string x_label;  // With the unit.
  std::string y_label;
  std::vector<ChartLine> lines;  // At most three.
  // A dashed level, with its name.
  std::optional<double> level = std::nullopt;
  std::string level_name = "";
};

// The whole file. A chart without points has axes and says so.
std::string DrawSvg(const Chart& chart);

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_CHART_H_
