#include "dataloader/text/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/files.h"

namespace bert::text {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> WithSpecials(std::vector<std::string> more) {
  std::vector<std::string> tokens(kSpecialTokens.begin(), kSpecialTokens.end());
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

TEST(VocabularyTest, KnowsTokensAndIds) {
  const auto vocabulary = Vocabulary::FromTokens(WithSpecials({"a", "##a", "##"}));
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->size(), 8u);
  EXPECT_EQ(vocabulary->Id("[MASK]"), 4u);
  EXPECT_EQ(vocabulary->Id("a"), 5u);
  EXPECT_EQ(vocabulary->Id("##a"), 6u);
  EXPECT_EQ(vocabulary->Id("##"), 7u);
  EXPECT_EQ(vocabulary->Id("b"), std::nullopt);
  EXPECT_EQ(vocabulary->Token(6), "##a");
  EXPECT_TRUE(vocabulary->IsContinuation(6));
  EXPECT_FALSE(vocabulary->IsContinuation(5));
  EXPECT_FALSE(vocabulary->IsContinuation(7)) << "two characters, not a piece of anything";
  EXPECT_TRUE(vocabulary->IsSpecial(0));
  EXPECT_FALSE(vocabulary->IsSpecial(5));
}

TEST(VocabularyTest, SpecialTokensMayStandAnywhere) {
  const auto vocabulary = Vocabulary::FromTokens({"x", "[MASK]", "[SEP]", "[CLS]", "y", "[UNK]", "[PAD]"});
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->special().mask, 1u);
  EXPECT_EQ(vocabulary->special().pad, 6u);
}

TEST(VocabularyTest, FindsTheLongestPrefixAtCodePointBoundaries) {
  auto made = Vocabulary::FromTokens(WithSpecials({"un", "u", "##aff", "##able", "é", "##é"}));
  ASSERT_TRUE(made.ok()) << made.status();
  const Vocabulary vocabulary = std::move(*made);
  EXPECT_EQ(vocabulary.LongestPrefix("unaffable", true).id, 5u);
  EXPECT_EQ(vocabulary.LongestPrefix("affable", false).bytes, 3u);
  EXPECT_EQ(vocabulary.LongestPrefix("affable", true).bytes, 0u);
  EXPECT_EQ(vocabulary.LongestPrefix("##affable", true).bytes, 0u) << "no word begins with a continuation";
  EXPECT_EQ(vocabulary.LongestPrefix("éa", true).bytes, 2u);
  EXPECT_EQ(vocabulary.LongestPrefix("è", true).bytes, 0u) << "shares its first byte with é";
  EXPECT_EQ(vocabulary.LongestPrefix("", true).bytes, 0u);
}

TEST(VocabularyTest, NamesTheLineOfWhatIsWrong) {
  EXPECT_THAT(Vocabulary::FromTokens(WithSpecials({"a", "b", "a"})).status().message(),
              HasSubstr("line 8: the token 'a' is already on line 6"));
  EXPECT_THAT(Vocabulary::FromTokens(WithSpecials({"a", ""})).status().message(), HasSubstr("line 7: an empty token"));
  EXPECT_THAT(Vocabulary::FromTokens(WithSpecials({"\xFF"})).status().message(), HasSubstr("not UTF-8"));
  EXPECT_THAT(Vocabulary::FromTokens(WithSpecials({"a\nb"})).status().message(), HasSubstr("line break"));
  EXPECT_THAT(Vocabulary::FromTokens({"a"}).status().message(), HasSubstr("[PAD] is missing"));
}

TEST(VocabularyTest, LoadsWhatItWrites) {
  const std::string path = ::testing::TempDir() + "/vocabulary_test.txt";
  const auto written = Vocabulary::FromTokens(WithSpecials({"a", "##中"}));
  ASSERT_TRUE(written.ok()) << written.status();
  ASSERT_TRUE(WriteFile(path, written->ToText()).ok());
  auto read = Vocabulary::Load(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->ToText(), written->ToText());
  ASSERT_TRUE(WriteFile(path, "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nlast").ok());
  read = Vocabulary::Load(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->Id("last"), 5u) << "the last line needs no end";
  EXPECT_TRUE(absl::IsNotFound(Vocabulary::Load(path + ".none").status()));
}

}  // namespace
}  // namespace bert::text
