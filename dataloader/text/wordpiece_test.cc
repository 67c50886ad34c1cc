#include "dataloader/text/wordpiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/check.h"

namespace bert::text {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Ids 5, 6, ... in this order.
const std::vector<std::string>& Pieces() {
  static const std::vector<std::string> pieces = {"un",  "##aff", "##able", "a",    "##a",     "cafe", "中", "文",
                                                  "#",   "ing",   "##ing",  "zero", "##width", ".",    "'",  "t",
                                                  "don", "[",     "]",      "mask", "Cafe",    "é",    "!"};
  return pieces;
}

uint32_t IdOf(const std::string& piece) {
  for (size_t i = 0; i < Pieces().size(); ++i) {
    if (Pieces()[i] == piece) return static_cast<uint32_t>(i + kSpecialTokens.size());
  }
  BERT_CHECK(false) << piece;
  return 0;
}

WordPieceTokenizer MakeTokenizer(const NormalizerOptions& options = {}) {
  std::vector<std::string> tokens(kSpecialTokens.begin(), kSpecialTokens.end());
  tokens.insert(tokens.end(), Pieces().begin(), Pieces().end());
  auto vocabulary = Vocabulary::FromTokens(tokens);
  BERT_CHECK(vocabulary.ok()) << vocabulary.status();
  return WordPieceTokenizer(std::move(*vocabulary), options);
}

std::vector<uint32_t> Encode(std::string_view text, SpecialTokenText special = SpecialTokenText::kIsToken,
                             const NormalizerOptions& options = {}) {
  std::vector<uint32_t> ids;
  MakeTokenizer(options).Encode(text, &ids, special);
  return ids;
}

constexpr uint32_t kUnk = 1;
constexpr uint32_t kMask = 4;

TEST(WordPieceTest, TakesTheLongestPieces) {
  EXPECT_THAT(Encode("unaffable"), ElementsAre(IdOf("un"), IdOf("##aff"), IdOf("##able")));
  EXPECT_THAT(Encode("a aa"), ElementsAre(IdOf("a"), IdOf("a"), IdOf("##a")));
}

TEST(WordPieceTest, OneMissingPieceMakesTheWholeWordUnknown) {
  EXPECT_THAT(Encode("unaffablex a"), ElementsAre(kUnk, IdOf("a")));
  EXPECT_THAT(Encode("xun"), ElementsAre(kUnk));
}

TEST(WordPieceTest, AccentsGoAndDoNotCountWithoutThem) {
  EXPECT_THAT(Encode("CAFÉ"), ElementsAre(IdOf("cafe")));
  EXPECT_THAT(Encode("cafe\xCC\x81"), ElementsAre(IdOf("cafe")));
  const NormalizerOptions cased{.lowercase = false};
  EXPECT_THAT(Encode("Cafe cafe É é", SpecialTokenText::kIsToken, cased),
              ElementsAre(IdOf("Cafe"), IdOf("cafe"), kUnk, IdOf("é")));
}

TEST(WordPieceTest, IdeographsAreWords) {
  EXPECT_THAT(Encode("a中文a"), ElementsAre(IdOf("a"), IdOf("中"), IdOf("文"), IdOf("a")));
}

TEST(WordPieceTest, APrefixWrittenInTheTextIsPunctuation) {
  EXPECT_THAT(Encode("##ing"), ElementsAre(IdOf("#"), IdOf("#"), IdOf("ing")));
}

TEST(WordPieceTest, ZeroWidthSpaceJoins) {
  EXPECT_THAT(Encode("zero\xE2\x80\x8Bwidth"), ElementsAre(IdOf("zero"), IdOf("##width")));
  EXPECT_THAT(Encode("zero\xE2\x80\x83"
                     "a"),
              ElementsAre(IdOf("zero"), IdOf("a")))
      << "an em space does not";
  EXPECT_THAT(Encode(std::string("ze\0r\x01o", 6)), ElementsAre(IdOf("zero")));
}

TEST(WordPieceTest, WordsLongerThanAHundredCharactersAreUnknown) {
  std::vector<uint32_t> hundred(100, IdOf("##a"));
  hundred[0] = IdOf("a");
  EXPECT_EQ(Encode(std::string(100, 'a')), hundred);
  EXPECT_THAT(Encode(std::string(101, 'a')), ElementsAre(kUnk));
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "á";
  EXPECT_EQ(Encode(accents), hundred) << "characters count after normalisation, not bytes before it";
}

TEST(WordPieceTest, SpecialTokensInTheTextAreTokensOrText) {
  EXPECT_THAT(Encode("a[MASK]a."), ElementsAre(IdOf("a"), kMask, IdOf("a"), IdOf(".")));
  EXPECT_THAT(Encode("[[MASK]][MASK"), ElementsAre(IdOf("["), kMask, IdOf("]"), IdOf("["), IdOf("mask")));
  EXPECT_THAT(Encode("[mask]"), ElementsAre(IdOf("["), IdOf("mask"), IdOf("]"))) << "case matters";
  EXPECT_THAT(Encode("[MASK]", SpecialTokenText::kIsText), ElementsAre(IdOf("["), IdOf("mask"), IdOf("]")));
}

TEST(WordPieceTest, AppendsAndLeavesEmptyAlone) {
  const WordPieceTokenizer tokenizer = MakeTokenizer();
  std::vector<uint32_t> ids = {7};
  tokenizer.Encode("", &ids);
  tokenizer.Encode(" \n ", &ids);
  tokenizer.Encode("a", &ids);
  EXPECT_THAT(ids, ElementsAre(7, IdOf("a")));
}

std::vector<ByteSpan> Spans(std::string_view text, SpecialTokenText special = SpecialTokenText::kIsToken) {
  std::vector<uint32_t> ids;
  std::vector<ByteSpan> spans;
  MakeTokenizer().EncodeWithOffsets(text, &ids, &spans, special);
  EXPECT_EQ(ids, Encode(text, special)) << "the ids are those of Encode";
  return spans;
}

TEST(WordPieceTest, OffsetsPointIntoTheTextAsWritten) {
  EXPECT_THAT(Spans("UNAFFABLE a."),
              ElementsAre(ByteSpan{0, 2}, ByteSpan{2, 5}, ByteSpan{5, 9}, ByteSpan{10, 11}, ByteSpan{11, 12}));
  EXPECT_THAT(Spans(" café中"), ElementsAre(ByteSpan{1, 6}, ByteSpan{6, 9}));
  EXPECT_THAT(Spans("zero\xE2\x80\x8Bwidth"), ElementsAre(ByteSpan{0, 4}, ByteSpan{7, 12}))
      << "the joiner is no token's";
  EXPECT_THAT(Spans("a\xCC\x81 a"), ElementsAre(ByteSpan{0, 1}, ByteSpan{4, 5})) << "nor is an accent at the end";
}

TEST(WordPieceTest, OffsetsOfAnUnknownWordAreTheWholeWords) {
  EXPECT_THAT(Spans("a unaffablex a"), ElementsAre(ByteSpan{0, 1}, ByteSpan{2, 12}, ByteSpan{13, 14}));
  EXPECT_THAT(Spans(std::string(1000, 'a') + " a"), ElementsAre(ByteSpan{0, 1000}, ByteSpan{1001, 1002}));
}

TEST(WordPieceTest, OffsetsGoOnBehindSpecialTokens) {
  EXPECT_THAT(Spans("a[MASK]unaff"), ElementsAre(ByteSpan{0, 1}, ByteSpan{1, 7}, ByteSpan{7, 9}, ByteSpan{9, 12}));
  EXPECT_THAT(Spans("[mask]", SpecialTokenText::kIsText), ElementsAre(ByteSpan{0, 1}, ByteSpan{1, 5}, ByteSpan{5, 6}));
}

TEST(WordPieceTest, OffsetsInCodePointsCountCharacters) {
  const std::string text = "éa 中\xF0\x9F\x91\x8D a";
  EXPECT_THAT(CodePointSpans(text, {{0, 3}, {4, 7}, {4, 7}, {7, 11}, {12, 13}}),
              ElementsAre(ByteSpan{0, 2}, ByteSpan{3, 4}, ByteSpan{3, 4}, ByteSpan{4, 5}, ByteSpan{6, 7}));
  EXPECT_THAT(CodePointSpans("", {}), IsEmpty());
  EXPECT_THAT(CodePointSpans("ééé", {{4, 6}, {0, 0}, {2, 4}}),
              ElementsAre(ByteSpan{2, 3}, ByteSpan{0, 0}, ByteSpan{1, 2}));
}

TEST(WordPieceTest, AModelIsGivenSpecialTokensAroundTheTexts) {
  const WordPieceTokenizer tokenizer = MakeTokenizer();
  constexpr uint32_t kCls = 2;
  constexpr uint32_t kSep = 3;
  const ModelInput one = tokenizer.EncodeForModel("a.");
  EXPECT_THAT(one.ids, ElementsAre(kCls, IdOf("a"), IdOf("."), kSep));
  EXPECT_THAT(one.type_ids, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(one.spans, ElementsAre(ByteSpan{0, 0}, ByteSpan{0, 1}, ByteSpan{1, 2}, ByteSpan{0, 0}));
  const ModelInput two = tokenizer.EncodeForModel("a", " [MASK]a");
  EXPECT_THAT(two.ids, ElementsAre(kCls, IdOf("a"), kSep, kMask, IdOf("a"), kSep));
  EXPECT_THAT(two.type_ids, ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(two.spans, ElementsAre(ByteSpan{0, 0}, ByteSpan{0, 1}, ByteSpan{0, 0}, ByteSpan{1, 7}, ByteSpan{7, 8},
                                     ByteSpan{0, 0}));
  EXPECT_THAT(tokenizer.EncodeForModel("", "").ids, ElementsAre(kCls, kSep, kSep));
}

TEST(WordPieceTest, DecodesToReadableText) {
  const WordPieceTokenizer tokenizer = MakeTokenizer();
  EXPECT_EQ(tokenizer.Decode(Encode("unaffable a. don't!")), "unaffable a. don ' t!");
  EXPECT_EQ(tokenizer.Decode({2, IdOf("a"), kMask, 3}), "a");
  EXPECT_EQ(tokenizer.Decode({2, IdOf("a"), kMask, 3}, /*skip_special_tokens=*/false), "[CLS] a [MASK] [SEP]");
  EXPECT_EQ(tokenizer.Decode({}), "");
}

}  // namespace
}  // namespace bert::text
