#include "bertctl/table.h"

#include <gmock/gmock.h>

namespace bert::ctl {
namespace {

TEST(TableTest, AlignsColumnsAndEndsNoLineWithSpaces) {
  Table table({{"NAME"}, {"STEP", Align::kRight}, {"NOTE"}});
  table.Add({{"a"}, {"1"}, {""}});
  table.Add({{"größer"}, {"12,345"}, {"x"}});
  EXPECT_EQ(table.Format(false),
            "NAME      STEP  NOTE\n"
            "a            1\n"
            "größer  12,345  x\n");
  EXPECT_EQ(table.Format(false, 2).substr(0, 8), "  NAME  ");
}

TEST(TableTest, ColoursWithoutMovingAnything) {
  Table table({{"STATE"}, {"N"}});
  table.Add({{"RUNNING", Color::kGreen}, {"1"}});
  table.Add({{"FAILED", Color::kRed}, {"2"}});
  EXPECT_EQ(table.Format(true),
            "STATE    N\n"
            "\x1b[32mRUNNING\x1b[0m  1\n"
            "\x1b[31mFAILED\x1b[0m   2\n");
}

TEST(TableTest, ACellCannotMoveTheCursor) {
  Table table({{"A"}});
  table.Add({{"x\x1b[2J\n"}});
  EXPECT_EQ(table.Format(false), "A\nx?[2J?\n");
}

}  // namespace
}  // namespace bert::ctl
