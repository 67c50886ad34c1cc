#include "dataloader/text/normalizer.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace bert::text {
namespace {

using namespace std::string_view_literals;

std::string Normalize(std::string_view text, const NormalizerOptions& options = {}) {
  std::string out = "left over";
  BertNormalizer(options).Normalize(text, &out);
  return out;
}

constexpr NormalizerOptions kCased{.lowercase = false};

TEST(NormalizerTest, LowercasesAndStripsAccents) {
  EXPECT_EQ(Normalize("Crème BRÛLÉE"), "creme brulee");
  EXPECT_EQ(Normalize("ΣΑΣ İstanbul ẞ"), "σασ istanbul ß");
  EXPECT_EQ(Normalize("Tiếng Việt"), "tieng viet");
  EXPECT_EQ(Normalize("å ø đ"), "a ø đ") << "only what decomposes has an accent";
}

TEST(NormalizerTest, CasedLeavesLettersAlone) {
  EXPECT_EQ(Normalize("Crème İ", kCased), "Crème İ");
  EXPECT_EQ(Normalize("e\xCC\x81", kCased), "e\xCC\x81") << "nothing is composed or decomposed";
}

TEST(NormalizerTest, StripAccentsCanBeChosen) {
  EXPECT_EQ(Normalize("Crème", {.lowercase = false, .strip_accents = true}), "Creme");
  EXPECT_EQ(Normalize("Crème İ", {.lowercase = true, .strip_accents = false}), "crème i\xCC\x87");
}

TEST(NormalizerTest, ControlCharactersVanishAndSpacesBecomeOne) {
  EXPECT_EQ(Normalize("a\0b\x01"
                      "c\x7F"
                      "d\xEF\xBF\xBD"
                      "e"sv),
            "abcde");
  EXPECT_EQ(Normalize("a\tb\nc\rd"), "a b c d");
  EXPECT_EQ(Normalize("a\x0B"
                      "b\xC2\x85"
                      "c"),
            "abc")
      << "vertical tab and NEL are control characters first";
  EXPECT_EQ(Normalize("a\xC2\xA0"
                      "b\xE3\x80\x80"
                      "c\xE2\x80\xA8"
                      "d"),
            "a b c d");
  EXPECT_EQ(Normalize("zero\xE2\x80\x8Bwidth\xC2\xADjoined"), "zerowidthjoined");
}

TEST(NormalizerTest, IdeographsGetSpaces) {
  EXPECT_EQ(Normalize("ab中文c"), "ab 中  文 c");
  EXPECT_EQ(Normalize("中", {.handle_chinese_chars = false}), "中");
  EXPECT_EQ(Normalize("か漢字한"), "か 漢  字 \xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB") << "hangul comes out as jamo";
}

TEST(NormalizerTest, MarksAreOrderedByClassBeforeTheyAreDropped) {
  // Both are spacing marks and stay: U+302E has class 224, U+1D166 class 216.
  EXPECT_EQ(Normalize("a\xE3\x80\xAE\xF0\x9D\x85\xA6"), "a\xF0\x9D\x85\xA6\xE3\x80\xAE");
  EXPECT_EQ(Normalize("a\xE3\x80\xAE\x01\xF0\x9D\x85\xA6"), "a\xF0\x9D\x85\xA6\xE3\x80\xAE")
      << "a control character between them is gone by then";
  EXPECT_EQ(Normalize("\xCC\x81\xCC\x80"), "");
}

// What Hugging Face's alignments say: see the note on marks in the header.
TEST(NormalizerTest, SourcesFollowTheOrderOfTheText) {
  std::string out;
  std::vector<ByteSpan> sources = {{9, 9}};
  const BertNormalizer normalizer({});
  normalizer.Normalize("É\xE2\x80\x8B中", &out, &sources);
  EXPECT_EQ(out, "e 中 ");
  EXPECT_EQ(sources, (std::vector<ByteSpan>{{0, 2}, {5, 8}, {5, 8}, {5, 8}, {5, 8}, {5, 8}}));
  normalizer.Normalize("a\xE3\x80\xAE\xF0\x9D\x85\xA6", &out, &sources);
  EXPECT_EQ(out, "a\xF0\x9D\x85\xA6\xE3\x80\xAE");
  EXPECT_EQ(sources, (std::vector<ByteSpan>{{0, 1}, {1, 4}, {1, 4}, {1, 4}, {1, 4}, {4, 8}, {4, 8}, {4, 8}}));
}

TEST(NormalizerTest, BytesThatAreNotUtf8AreLeftOut) {
  EXPECT_EQ(Normalize("a\xFF"
                      "b\xC3"),
            "ab");
}

TEST(NormalizerTest, EmptyGivesEmpty) { EXPECT_EQ(Normalize(""), ""); }

}  // namespace
}  // namespace bert::text
