#include "dataloader/text/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bert::text {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  ForEachWord(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

TEST(PretokenizerTest, SplitsAtSpacesAndAroundPunctuation) {
  EXPECT_THAT(Words("hello, world"), ElementsAre("hello", ",", "world"));
  EXPECT_THAT(Words("  don't  "), ElementsAre("don", "'", "t"));
  EXPECT_THAT(Words("a--b."), ElementsAre("a", "-", "-", "b", "."));
  EXPECT_THAT(Words("##ing"), ElementsAre("#", "#", "ing"));
  EXPECT_THAT(Words("“quoted”"), ElementsAre("“", "quoted", "”"));
}

TEST(PretokenizerTest, SymbolsOutsideAsciiAreLetters) {
  EXPECT_THAT(Words("5€ a$b"), ElementsAre("5€", "a", "$", "b"));
}

TEST(PretokenizerTest, NothingInNothingOut) {
  EXPECT_THAT(Words(""), IsEmpty());
  EXPECT_THAT(Words("   "), IsEmpty());
}

}  // namespace
}  // namespace bert::text
