#include "dataloader/text/unicode.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bert::text {
namespace {

std::vector<char32_t> Decode(std::string_view text) {
  std::vector<char32_t> out;
  for (size_t offset = 0; offset < text.size();) out.push_back(DecodeUtf8(text, &offset));
  return out;
}

std::string Lowercase(char32_t c) {
  std::string out;
  AppendLowercaseUtf8(c, &out);
  return out;
}

std::u32string Decompose(char32_t c) {
  std::u32string out;
  AppendDecomposed(c, &out);
  return out;
}

TEST(UnicodeTest, DecodesEveryLengthAndBack) {
  const std::vector<char32_t> points = {0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF};
  std::string text;
  for (const char32_t c : points) AppendUtf8(c, &text);
  EXPECT_EQ(Decode(text), points);
  EXPECT_EQ(CountCodePoints(text), points.size());
  EXPECT_EQ(FindInvalidUtf8(text), std::string_view::npos);
}

TEST(UnicodeTest, FindsWhatIsNotUtf8) {
  EXPECT_EQ(FindInvalidUtf8(""), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("ab\xFF"), 2u);
  EXPECT_EQ(FindInvalidUtf8("caf\xC3\xA9 \xC3"), 6u) << "cut off at the end";
  EXPECT_EQ(FindInvalidUtf8("\xC0\xAF"), 0u) << "overlong";
  EXPECT_EQ(FindInvalidUtf8("x\xED\xA0\x80"), 1u) << "a surrogate";
  EXPECT_EQ(FindInvalidUtf8("x\xF4\x90\x80\x80"), 1u) << "above U+10FFFF";
  EXPECT_EQ(Decode("a\xE4\xB8z"), (std::vector<char32_t>{'a', kReplacementCharacter, 'z'}));
}

TEST(UnicodeTest, PunctuationIsAsciiSymbolsAndUnicodeP) {
  for (const char c : std::string("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")) EXPECT_TRUE(IsPunctuation(c)) << c;
  for (const char c : std::string("az09 \t\x7F")) EXPECT_FALSE(IsPunctuation(c)) << c;
  EXPECT_TRUE(IsPunctuation(0x2019)) << "right single quotation mark";
  EXPECT_TRUE(IsPunctuation(0x3002)) << "ideographic full stop";
  EXPECT_FALSE(IsPunctuation(0x20AC)) << "euro sign is a symbol";
  EXPECT_FALSE(IsPunctuation(0x2E43)) << "newer than Unicode 8";
  EXPECT_TRUE(IsPunctuation(0x166D)) << "was punctuation in Unicode 8";
}

TEST(UnicodeTest, ControlIsCcCfCoOfUnicode8) {
  for (const char32_t c : {0x00, 0x0B, 0x7F, 0x85, 0xAD, 0x200B, 0x200D, 0xFEFF, 0xE000, 0x10FFFD}) {
    EXPECT_TRUE(IsControl(c)) << std::hex << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {'\t', '\n', '\r', ' ', 'a'}) EXPECT_FALSE(IsControl(c));
  EXPECT_FALSE(IsControl(0x0890)) << "a format character newer than Unicode 8";
  EXPECT_FALSE(IsControl(0xFFFE)) << "not assigned";
}

TEST(UnicodeTest, MarksAndDecompositions) {
  EXPECT_TRUE(IsNonspacingMark(0x301));
  EXPECT_FALSE(IsNonspacingMark(0x302E)) << "a spacing mark, although it has a combining class";
  EXPECT_EQ(CombiningClass(0x302E), 224);
  EXPECT_EQ(CombiningClass(0x0898), 0) << "newer than Unicode 9";
  EXPECT_EQ(Decompose(0x1EA5), (std::u32string{'a', 0x302, 0x301}));
  EXPECT_EQ(Decompose(0xAC01), (std::u32string{0x1100, 0x1161, 0x11A8}));
  EXPECT_EQ(Decompose(0xFB01), (std::u32string{0xFB01})) << "compatibility only";
  EXPECT_EQ(Decompose(0x11938), (std::u32string{0x11938})) << "newer than Unicode 9";
}

TEST(UnicodeTest, LowercaseHasNoContext) {
  EXPECT_EQ(Lowercase('A'), "a");
  EXPECT_EQ(Lowercase(U'Σ'), "σ");
  EXPECT_EQ(Lowercase(0x130), "i\xCC\x87");
  EXPECT_EQ(Lowercase(0x1C89), "\xE1\xB2\x8A") << "newer than ICU 72";
  EXPECT_EQ(Lowercase(0x10D65), "\xF0\x90\xB6\x85");
  EXPECT_EQ(Lowercase(U'ß'), "ß");
}

TEST(UnicodeTest, ChineseIsIdeographsOnly) {
  EXPECT_TRUE(IsChinese(U'中'));
  EXPECT_TRUE(IsChinese(0x20000));
  EXPECT_FALSE(IsChinese(U'か'));
  EXPECT_FALSE(IsChinese(U'한'));
  EXPECT_FALSE(IsChinese(0x2B820)) << "BERT's list leaves this block out";
}

}  // namespace
}  // namespace bert::text
