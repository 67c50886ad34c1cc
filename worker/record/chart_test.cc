#include "worker/record/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace bert::record {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ThinnedLineTest, KeepsFewPointsAsTheyAre) {
  ThinnedLine line(4);
  for (int i = 1; i <= 4; ++i) line.Add(i, 10 * i);
  const auto points = line.Points();
  ASSERT_EQ(points.size(), 4u);
  EXPECT_EQ(points[2].x, 3);
  EXPECT_EQ(points[2].y, 30);
}

TEST(ThinnedLineTest, AveragesNeighboursOfManyAndKeepsTheirOrder) {
  ThinnedLine line(10);
  for (int i = 1; i <= 1000; ++i) line.Add(i, 2 * i);
  line.Add(1001, std::nan(""));
  const auto points = line.Points();
  ASSERT_LE(points.size(), 10u);
  ASSERT_GE(points.size(), 5u);
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_DOUBLE_EQ(points[i].y, 2 * points[i].x);
    EXPECT_GT(points[i].x, i == 0 ? 0 : points[i - 1].x);
  }
  EXPECT_LE(points.back().x, 1000);
}

TEST(ChartTest, HasAxesWithTicksALegendAndItsLines) {
  const std::string svg = DrawSvg({.title = "Loss <of> it",
                                   .x_label = "steps",
                                   .y_label = "nats",
                                   .lines = {{.name = "training", .points = {{1, 10}, {50, 5}, {100, 2.5}}},
                                             {.name = "validation", .points = {{100, 3}}, .marked = true}},
                                   .level = 7.25,
                                   .level_name = "baseline"});
  EXPECT_THAT(svg, HasSubstr("Loss &lt;of&gt; it"));
  EXPECT_THAT(svg, HasSubstr(">steps</text>"));
  EXPECT_THAT(svg, HasSubstr(">nats</text>"));
  EXPECT_THAT(svg, HasSubstr(">training</text>"));
  EXPECT_THAT(svg, HasSubstr(">baseline (7.25)</text>"));
  EXPECT_THAT(svg, HasSubstr(">100</text>"));
  EXPECT_THAT(svg, HasSubstr(">10</text>"));
  EXPECT_THAT(svg, HasSubstr("<circle class=\"fill1\""));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(svg, Not(HasSubstr("http://www.w3.org/1999/xlink")));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(ChartTest, DrawsWhatHasNoExtent) {
  EXPECT_THAT(DrawSvg({.title = "t", .x_label = "x", .y_label = "y", .lines = {}}), HasSubstr("no points"));
  const std::string one = DrawSvg({.title = "t", .x_label = "x", .y_label = "y", .lines = {{"a", {{1, 3e-4}}}}});
  EXPECT_THAT(one, Not(HasSubstr("nan")));
  EXPECT_THAT(one, Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace bert::record
