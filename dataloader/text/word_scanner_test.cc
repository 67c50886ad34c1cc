#include "dataloader/text/word_scanner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace bert::text {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Word {
  std::string text = {};
  bool too_long = false;
  ByteSpan span = {};
  std::vector<ByteSpan> sources = {};

  bool operator==(const Word&) const = default;
};

// gtest prints it when words differ.
std::ostream& operator<<(std::ostream& out, const Word& word) {
  return out << ::testing::PrintToString(word.text) << (word.too_long ? " too long" : "") << " [" << word.span.begin
             << ", " << word.span.end << ")";
}

std::vector<Word> Scan(std::string_view text, const NormalizerOptions& options) {
  const BertNormalizer normalizer(options);
  std::vector<Word> words;
  WordScanner<true> scanner(normalizer);
  scanner.Scan(text, [&](const ScannedWord& word) {
    Word& copy = words.emplace_back(Word{.too_long = word.too_long, .span = word.span});
    if (word.too_long) return;
    copy.text = word.text;
    copy.sources.assign(word.sources, word.sources + word.text.size());
  });
  return words;
}

std::vector<std::string> Texts(std::string_view text, const NormalizerOptions& options = {}) {
  const BertNormalizer normalizer(options);
  std::vector<std::string> words;
  WordScanner<false> scanner(normalizer);
  scanner.Scan(text,
               [&](const ScannedWord& word) { words.push_back(word.too_long ? "too long" : std::string(word.text)); });
  return words;
}

// By the definition: normalise all, then cut.
std::vector<Word> Reference(std::string_view text, const NormalizerOptions& options) {
  std::string normalized;
  std::vector<ByteSpan> sources;
  BertNormalizer(options).Normalize(text, &normalized, &sources);
  std::vector<Word> words;
  ForEachWord(normalized, [&](std::string_view word) {
    const ByteSpan* first = sources.data() + (word.data() - normalized.data());
    Word& copy = words.emplace_back(Word{.too_long = CountCodePoints(word) > kWordCodePointsMax,
                                         .span = {first->begin, (first + word.size() - 1)->end}});
    if (copy.too_long) return;
    copy.text = word;
    copy.sources.assign(first, first + word.size());
  });
  return words;
}

std::vector<NormalizerOptions> AllOptions() {
  std::vector<NormalizerOptions> all;
  for (const bool lowercase : {false, true}) {
    for (const bool strip_accents : {false, true}) {
      for (const bool chinese : {false, true}) all.push_back({lowercase, strip_accents, chinese});
    }
  }
  return all;
}

// Every code point, in a context that shows what became of it.
TEST(WordScannerTest, AgreesWithTheDefinitionForEveryCodePoint) {
  std::vector<std::string> texts;
  std::string text;
  const auto add = [&](char32_t c) {
    std::string character;
    AppendUtf8(c, &character);
    text += "A" + character + "b \xCC\x81" + character + "\xCC\xB4x\xE3\x80\xAE" + character + " ";
    if (text.size() < 4096) return;
    texts.push_back(text);
    text.clear();
  };
  for (char32_t c = 0; c < 0x110000; c += c < 0x20000 ? 1 : 61) {
    if (c < 0xD800 || c > 0xDFFF) add(c);
  }
  for (char32_t c = 0x2F800; c < 0x2FA20; ++c) add(c);
  for (char32_t c = 0xE0000; c < 0xE0200; ++c) add(c);
  texts.push_back(text);
  for (const NormalizerOptions& options : AllOptions()) {
    for (const std::string& part : texts) {
      ASSERT_EQ(Scan(part, options), Reference(part, options))
          << "lowercase " << options.lowercase << " strip accents " << *options.strip_accents;
    }
  }
}

// Mixtures of what is treated in different ways, bytes that are no UTF-8 among them.
TEST(WordScannerTest, AgreesWithTheDefinitionOnRandomMixtures) {
  const std::vector<std::string> atoms = {"a",
                                          "B",
                                          "z9",
                                          " ",
                                          "\t",
                                          "\n",
                                          ".",
                                          "#",
                                          "[",
                                          "\x01",
                                          "\x7F",
                                          "é",
                                          "É",
                                          "İ",
                                          "ß",
                                          "Σ",
                                          "\xCC\x81",
                                          "\xCC\xB4",
                                          "\xE3\x80\xAE",
                                          "\xE3\x80\xAF",
                                          "\xF0\x9D\x85\xA6",
                                          "\xCD\x84",
                                          "中",
                                          "\xEF\xA4\x80",
                                          "\xF0\xAF\xA0\x80",
                                          "각",
                                          "가",
                                          "か\xE3\x82\x99",
                                          "が",
                                          "ज़",
                                          "≠",
                                          "≮",
                                          "\xC2\xA0",
                                          "\xE3\x80\x80",
                                          "\xE2\x80\x8B",
                                          "\xC2\xAD",
                                          "\xEF\xBB\xBF",
                                          "、",
                                          "“",
                                          ";",
                                          "`",
                                          "\xFF",
                                          "\xE4\xB8",
                                          "\xF0\x9F",
                                          "👍🏽",
                                          "Ǆ",
                                          "ﬁ",
                                          "\xF0\x91\xA4\xB8",
                                          "ᾳ",
                                          "ŉ"};
  constexpr uint64_t kSeed = 7;
  std::mt19937_64 random(kSeed);
  const std::vector<NormalizerOptions> options = AllOptions();
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    const uint64_t count = 1 + random() % 30;
    for (uint64_t k = 0; k < count; ++k) {
      const std::string& atom = atoms[random() % atoms.size()];
      const uint64_t times = random() % 64 == 0 ? 90 + random() % 20 : 1;
      for (uint64_t t = 0; t < times; ++t) text += atom;
    }
    const NormalizerOptions& chosen = options[random() % options.size()];
    ASSERT_EQ(Scan(text, chosen), Reference(text, chosen))
        << "seed " << kSeed << ", string " << i << ": " << ::testing::PrintToString(text);
  }
}

TEST(WordScannerTest, SplitsAtSpacesAndAroundPunctuation) {
  EXPECT_THAT(Texts("  Hello, World's\n“end”."), ElementsAre("hello", ",", "world", "'", "s", "“", "end", "”", "."));
  EXPECT_THAT(Texts("ab中文c"), ElementsAre("ab", "中", "文", "c"));
  EXPECT_THAT(Texts("ab中文c", {.handle_chinese_chars = false}), ElementsAre("ab中文c"));
  EXPECT_THAT(Texts(""), IsEmpty());
  EXPECT_THAT(Texts(" \xCC\x81 "), IsEmpty());
}

TEST(WordScannerTest, LongWordsAreMarkedNotKept) {
  EXPECT_THAT(Texts(std::string(100, 'a') + " b"), ElementsAre(std::string(100, 'a'), "b"));
  EXPECT_THAT(Texts(std::string(101, 'a') + " b"), ElementsAre("too long", "b"));
  EXPECT_THAT(Texts(std::string(100'000, 'a') + ".b"), ElementsAre("too long", ".", "b"));
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "👍";
  EXPECT_THAT(Texts(wide), ElementsAre(wide)) << "characters count, not bytes";
  const std::vector<Word> words = Scan(" " + std::string(1000, 'a') + " b", {});
  ASSERT_EQ(words.size(), 2u);
  EXPECT_EQ(words[0].span, (ByteSpan{1, 1001}));
}

TEST(WordScannerTest, TellsWhereEveryByteComesFrom) {
  const std::vector<Word> words = Scan(
      "\xE2\x80\x8B"
      "É각x",
      {});
  ASSERT_EQ(words.size(), 1u);
  EXPECT_EQ(words[0].span, (ByteSpan{3, 9}));
  EXPECT_EQ(words[0].text.size(), 11u) << "e, three jamo of three bytes, x";
  EXPECT_EQ(words[0].sources[0], (ByteSpan{3, 5}));
  EXPECT_EQ(words[0].sources[1], (ByteSpan{5, 8}));
  EXPECT_EQ(words[0].sources[9], (ByteSpan{5, 8}));
  EXPECT_EQ(words[0].sources[10], (ByteSpan{8, 9}));
}

}  // namespace
}  // namespace bert::text
