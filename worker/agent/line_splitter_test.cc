#include "worker/agent/line_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bert::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(LineSplitterTest, CompletesLinesOverPieces) {
  LineSplitter splitter;
  EXPECT_THAT(splitter.Feed("one\ntw"), ElementsAre("one"));
  EXPECT_THAT(splitter.Feed("o\n\nthree\r\nfour"), ElementsAre("two", "", "three"));
  EXPECT_THAT(splitter.Finish(), ElementsAre("four"));
  EXPECT_THAT(splitter.Finish(), IsEmpty());
}

TEST(LineSplitterTest, CutsLongLinesAndSaysHowMuch) {
  LineSplitter splitter;
  splitter.Feed(std::string(kLineBytesMax, 'a'));
  splitter.Feed("bbb");
  EXPECT_THAT(splitter.Feed("bb\nnext\n"), ElementsAre(std::string(kLineBytesMax, 'a') + " … [5 bytes cut]", "next"));
}

TEST(LineSplitterTest, ExactlyTheLongestIsWhole) {
  LineSplitter splitter;
  EXPECT_THAT(splitter.Feed(std::string(kLineBytesMax, 'a') + "\n"), ElementsAre(std::string(kLineBytesMax, 'a')));
}

TEST(LineSplitterTest, CutsBetweenCharacters) {
  LineSplitter splitter;
  // The two bytes of the last character stand on both sides of the limit.
  const std::string head(kLineBytesMax - 1, 'a');
  EXPECT_THAT(splitter.Feed(head + "ö\n"), ElementsAre(head + " … [2 bytes cut]"));
}

TEST(ToValidUtf8Test, KeepsWhatIsValid) {
  const std::string text = "aö€😀 \u0301";
  EXPECT_EQ(ToValidUtf8(text), text);
}

TEST(ToValidUtf8Test, ReplacesWhatIsNot) {
  EXPECT_EQ(ToValidUtf8("a\x80z"), "a\uFFFDz");                            // lone continuation
  EXPECT_EQ(ToValidUtf8("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(ToValidUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // surrogate
  EXPECT_EQ(ToValidUtf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // past U+10FFFF
  EXPECT_EQ(ToValidUtf8("\xE2\x82"), "\uFFFD\uFFFD");                      // ends too early
}

}  // namespace
}  // namespace bert::agent
