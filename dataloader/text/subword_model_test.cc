#include "dataloader/text/subword_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace bert::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<VocabularyToken> Tokens(const std::vector<std::string>& contents) {
  std::vector<VocabularyToken> tokens;
  for (const std::string& content : contents) tokens.push_back({.content = content});
  return tokens;
}

std::vector<std::string> Encode(const auto& model, const std::vector<VocabularyToken>& tokens, std::string_view word) {
  std::vector<uint32_t> ids;
  model.Encode(word, &ids);
  std::vector<std::string> contents;
  for (const uint32_t id : ids) contents.push_back(tokens[id].content);
  return contents;
}

TEST(BpeModelTest, TheMergeLearnedFirstGoesFirst) {
  const auto tokens =
      Tokens({"u", "n", "r", "e", "l", "a", "t", "d", "re", "at", "ed", "un", "ated", "rel", "related"});
  const TokenTable table(tokens);
  const auto model = BpeModel::Create(
      table, {{"r", "e"}, {"a", "t"}, {"e", "d"}, {"u", "n"}, {"at", "ed"}, {"re", "l"}, {"rel", "ated"}}, {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(Encode(*model, tokens, "unrelated"), ElementsAre("un", "related"));
  EXPECT_THAT(Encode(*model, tokens, "red"), ElementsAre("re", "d"));
  EXPECT_THAT(Encode(*model, tokens, "xed"), ElementsAre("ed")) << "an unknown character is left out";
  EXPECT_THAT(Encode(*model, tokens, ""), ElementsAre());
}

TEST(BpeModelTest, MarksOfPlacesInAWord) {
  const auto tokens = Tokens({"[UNK]", "a", "##b", "##c</w>", "a</w>", "##bc</w>", "abc</w>"});
  const TokenTable table(tokens);
  const auto model =
      BpeModel::Create(table, {{"##b", "##c</w>"}, {"a", "##bc</w>"}},
                       {.unk_token = "[UNK]", .continuing_subword_prefix = "##", .end_of_word_suffix = "</w>"});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(Encode(*model, tokens, "abc"), ElementsAre("abc</w>"));
  EXPECT_THAT(Encode(*model, tokens, "a"), ElementsAre("a</w>"));
  EXPECT_THAT(Encode(*model, tokens, "abb"), ElementsAre("a", "##b", "[UNK]"));
}

TEST(BpeModelTest, UnknownCharacters) {
  const auto tokens = Tokens({"?", "a", "<0xC3>", "<0xA9>"});
  const TokenTable table(tokens);
  const auto each = BpeModel::Create(table, {}, {.unk_token = "?"});
  EXPECT_THAT(Encode(*each, tokens, "xyaz"), ElementsAre("?", "?", "a", "?"));
  const auto fused = BpeModel::Create(table, {}, {.unk_token = "?", .fuse_unk = true});
  EXPECT_THAT(Encode(*fused, tokens, "xyaz"), ElementsAre("?", "a", "?"));
  const auto bytes = BpeModel::Create(table, {}, {.unk_token = "?", .byte_fallback = true});
  EXPECT_THAT(Encode(*bytes, tokens, "éaè"), ElementsAre("<0xC3>", "<0xA9>", "a", "?"));
}

TEST(BpeModelTest, AWordMayWinOverTheMerges) {
  const auto tokens = Tokens({"a", "b", "c", "ab", "abc"});
  const TokenTable table(tokens);
  EXPECT_THAT(Encode(*BpeModel::Create(table, {{"a", "b"}}, {}), tokens, "abc"), ElementsAre("ab", "c"));
  EXPECT_THAT(Encode(*BpeModel::Create(table, {{"a", "b"}}, {.ignore_merges = true}), tokens, "abc"),
              ElementsAre("abc"));
}

TEST(BpeModelTest, NamesTheMergeThatIsWrong) {
  const auto tokens = Tokens({"a", "b", "ab"});
  const TokenTable table(tokens);
  EXPECT_THAT(BpeModel::Create(table, {{"a", "b"}, {"a", "x"}}, {}).status().message(), HasSubstr("model.merges[1]"));
  EXPECT_THAT(BpeModel::Create(table, {{"b", "a"}}, {}).status().message(), HasSubstr("not in the vocabulary"));
  EXPECT_THAT(BpeModel::Create(table, {}, {.unk_token = "?"}).status().message(), HasSubstr("model.unk_token: '?'"));
}

// Every merge applied to the whole word, one after the other, as they were learned.
std::vector<std::string> SlowEncode(const BpeModel::Merges& merges, std::string_view word) {
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  for (const auto& [first, second] : merges) {
    std::vector<std::string> next;
    for (size_t i = 0; i < parts.size(); ++i) {
      const bool here = i + 1 < parts.size() && parts[i] == first && parts[i + 1] == second;
      next.push_back(here ? first + second : parts[i]);
      i += here ? 1 : 0;
    }
    parts = next;
  }
  return parts;
}

TEST(BpeModelTest, AgreesWithApplyingEveryMergeInTurn) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    std::vector<std::string> contents = {"a", "b", "c"};
    BpeModel::Merges merges;
    // Of a real training each token comes from one merge only.
    while (contents.size() < 30) {
      const std::string first = contents[random() % contents.size()];
      const std::string second = contents[random() % contents.size()];
      if (std::find(contents.begin(), contents.end(), first + second) != contents.end()) continue;
      merges.emplace_back(first, second);
      contents.push_back(first + second);
    }
    const auto tokens = Tokens(contents);
    const TokenTable table(tokens);
    const auto model = BpeModel::Create(table, merges, {});
    ASSERT_TRUE(model.ok()) << model.status();
    for (int i = 0; i < 200; ++i) {
      std::string word;
      const size_t length = random() % 20;
      while (word.size() < length) word.push_back(static_cast<char>('a' + random() % 3));
      EXPECT_EQ(Encode(*model, tokens, word), SlowEncode(merges, word)) << word;
    }
  }
}

TEST(WordPieceModelTest, LongestFirstWithItsOwnMarks) {
  auto tokens = Tokens({"?", "un", "@@aff", "@@able", "@@a", "un@@aff"});
  tokens.push_back({.content = "@@x", .in_model = false});
  const TokenTable table(tokens);
  const auto model = WordPieceModel::Create(
      table, {.unk_token = "?", .continuing_subword_prefix = "@@", .max_input_chars_per_word = 9});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(Encode(*model, tokens, "unaffable"), ElementsAre("un", "@@aff", "@@able"));
  EXPECT_THAT(Encode(*model, tokens, "unaffables"), ElementsAre("?")) << "too long";
  EXPECT_THAT(Encode(*model, tokens, "unb"), ElementsAre("?"));
  EXPECT_THAT(Encode(*model, tokens, "unx"), ElementsAre("?")) << "@@x is an added token";
  EXPECT_THAT(WordPieceModel::Create(table, {}).status().message(), HasSubstr("model.unk_token: '[UNK]'"));
}

}  // namespace
}  // namespace bert::text
