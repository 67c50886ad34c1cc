#include "dataloader/text/vocabulary_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "dataloader/text/pair_order.h"

namespace bert::text {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Repeat(const std::map<std::string, int>& words) {
  std::string text;
  for (const auto& [word, count] : words) {
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, word, " ");
  }
  return text;
}

std::string Lines(const std::vector<std::string>& tokens) { return absl::StrJoin(tokens, "\n"); }

TEST(VocabularyTrainerTest, WorkedExample) {
  VocabularyTrainer trainer({.vocab_size = 23});
  trainer.AddText(Repeat({{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}}));
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trainer.words(), 36u);
  EXPECT_EQ(trainer.distinct_words(), 5u);
  EXPECT_THAT(trained->tokens,
              ElementsAre("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b", "g", "h", "n", "p", "s", "u", "##g", "##n",
                          "##s", "##u", "##ug", "##un", "hug", "pun", "pug", "hugs", "bun"));
  ASSERT_EQ(trained->merges.size(), 7u);
  EXPECT_EQ(trained->merges[0], (TokenPair{15, 12}));
}

// 5 of 16 ##g before ##s... by hand: ##u##g 20/(36*20), ##u##n 16/(36*16), h##u 15/(15*36), p##u 17/(17*36),
// b##u 4/(4*36), ##g##s 5/(20*5): the last is the highest. Then ##u stands before ##gs 5 times of 36 and 5.
TEST(VocabularyTrainerTest, WorkedExampleByScore) {
  VocabularyTrainer trainer({.kind = VocabularyKind::kWordPieceByScore, .vocab_size = 18});
  trainer.AddText(Repeat({{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}}));
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->tokens[16], "##gs");
  // Now all pairs score 1/36 but those of ##u with what it always stands beside: the oldest tokens win, b+##u.
  EXPECT_EQ(trained->tokens[17], "bu");
}

TEST(VocabularyTrainerTest, BpeMarksTheEndsOfWords) {
  VocabularyTrainer trainer({.kind = VocabularyKind::kBpe, .vocab_size = 16});
  trainer.AddText("low low low lower lower newest");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_THAT(trained->tokens, ElementsAre("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "e", "l", "n", "o", "r", "s",
                                           "t", "w", "r</w>", "t</w>", "w</w>"));
}

TEST(VocabularyTrainerTest, BytesBeginWithTheSpaceBeforeAWord) {
  VocabularyTrainer trainer({.kind = VocabularyKind::kByteLevelBpe, .vocab_size = 264});
  trainer.AddText("tat tat tat Ta");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->tokens[5], "!");
  // A space is U+0120. All pairs of " tat" are equally frequent; the oldest tokens win: a is before t, and both before
  // it.
  EXPECT_THAT(std::vector<std::string>(trained->tokens.begin() + 261, trained->tokens.end()),
              ElementsAre("at", "tat", "\xC4\xA0tat"));
}

TEST(VocabularyTrainerTest, StopsWherePairsBecomeRare) {
  VocabularyTrainer trainer({.vocab_size = 1000, .min_frequency = 12});
  trainer.AddText(Repeat({{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}}));
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->tokens.back(), "pun");
}

TEST(VocabularyTrainerTest, OverlappingPairsMergeFromTheLeft) {
  VocabularyTrainer trainer({.vocab_size = 9});
  trainer.AddText("xaaaa xaaaa xaaa");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  // a x ##a, then ##a+##a: x ##aa ##aa, x ##aa ##aa, x ##aa ##a.
  EXPECT_EQ(trained->tokens[7], "##a");
  EXPECT_EQ(trained->tokens[8], "##aa");
}

constexpr VocabularyKind kKinds[] = {VocabularyKind::kWordPiece, VocabularyKind::kWordPieceByScore,
                                     VocabularyKind::kBpe, VocabularyKind::kByteLevelBpe};

TEST(VocabularyTrainerTest, NeitherOrderNorThreadsMatter) {
  std::mt19937 random(7);
  std::vector<std::string> words;
  for (int i = 0; i < 3000; ++i) {
    std::string word;
    const size_t length = 1 + random() % 8;
    while (word.size() < length) word.push_back(static_cast<char>('a' + random() % 6));
    words.push_back(word);
  }
  for (const VocabularyKind kind : kKinds) {
    SCOPED_TRACE(static_cast<int>(kind));
    VocabularyTrainer one({.kind = kind, .vocab_size = 600});
    one.AddText(absl::StrJoin(words, " "));
    std::shuffle(words.begin(), words.end(), random);
    VocabularyTrainer many({.kind = kind, .vocab_size = 600, .threads = 3});
    // More than a wave of the threads, so that several are counted.
    for (const std::string& word : words) many.AddText(word);
    const auto first = one.Train();
    const auto second = many.Train();
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(Lines(first->tokens), Lines(second->tokens));
    EXPECT_EQ(first->merges, second->merges);
    EXPECT_EQ(many.words(), 3000u);
  }
}

// Done the slow way: everything counted anew before every merge. `words` as lists of the parts they begin with.
std::vector<std::string> SlowMerges(std::vector<std::pair<std::vector<std::string>, uint64_t>> words,
                                    std::vector<std::string> tokens, VocabularyKind kind, size_t vocab_size) {
  const bool by_score = kind == VocabularyKind::kWordPieceByScore;
  const bool wordpiece = by_score || kind == VocabularyKind::kWordPiece;
  while (tokens.size() < vocab_size) {
    std::map<std::string, size_t> ids;
    for (size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], id);
    std::map<std::pair<size_t, size_t>, uint64_t> pairs;
    std::map<size_t, uint64_t> singles;
    for (const auto& [word, count] : words) {
      for (size_t i = 0; i < word.size(); ++i) {
        singles[ids.at(word[i])] += count;
        if (i + 1 < word.size()) pairs[{ids.at(word[i]), ids.at(word[i + 1])}] += count;
      }
    }
    std::pair<size_t, size_t> best;
    double best_value = 0;
    for (const auto& [pair, count] : pairs) {
      if (count < 2) continue;
      const double value = by_score ? static_cast<double>(count) / (static_cast<double>(singles.at(pair.first)) *
                                                                    static_cast<double>(singles.at(pair.second)))
                                    : static_cast<double>(count);
      if (value > best_value) std::tie(best, best_value) = std::pair(pair, value);
    }
    if (best_value == 0) break;
    const std::string first = tokens[best.first];
    const std::string second = tokens[best.second];
    const std::string merged = first + (wordpiece ? second.substr(2) : second);
    if (!ids.contains(merged)) tokens.push_back(merged);
    for (auto& [word, count] : words) {
      std::vector<std::string> next;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool here = i + 1 < word.size() && word[i] == first && word[i + 1] == second;
        next.push_back(here ? merged : word[i]);
        i += here ? 1 : 0;
      }
      word = next;
    }
  }
  return tokens;
}

TEST(VocabularyTrainerTest, AgreesWithCountingAnewForEveryMerge) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    const VocabularyKind kind = kKinds[seed % 3];
    const size_t vocab_size = 30 + seed;
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    std::map<std::string, uint64_t> counts;
    VocabularyTrainer trainer({.kind = kind, .vocab_size = vocab_size});
    for (int i = 0; i < 300; ++i) {
      std::string word;
      const size_t length = 1 + random() % 10;
      while (word.size() < length) word.push_back("abcdefgh"[std::min(random() % 8, random() % 8)]);
      ++counts[word];
      trainer.AddText(word);
    }
    std::vector<std::string> start = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (char c = 'a'; c <= 'h'; ++c) start.emplace_back(1, c);
    std::set<std::string> forms;
    std::vector<std::pair<std::vector<std::string>, uint64_t>> words;
    for (const auto& [word, count] : counts) {
      std::vector<std::string> parts;
      for (const char c : word) {
        parts.push_back((kind == VocabularyKind::kBpe || parts.empty() ? "" : "##") + std::string(1, c));
      }
      if (kind == VocabularyKind::kBpe) parts.back() += "</w>";
      for (const std::string& part : parts) {
        if (part.size() > 1) forms.insert(part);
      }
      words.emplace_back(parts, count);
    }
    start.insert(start.end(), forms.begin(), forms.end());
    const auto trained = trainer.Train();
    ASSERT_TRUE(trained.ok()) << trained.status();
    EXPECT_EQ(Lines(trained->tokens), Lines(SlowMerges(words, start, kind, vocab_size)));
  }
}

TEST(VocabularyTrainerTest, RareCharactersFallOutOfTheAlphabetWithTheirWords) {
  VocabularyTrainer trainer({.vocab_size = 30, .alphabet_limit = 2});
  trainer.AddText("ab ab ab za za");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_THAT(trained->tokens, Contains("ab"));
  EXPECT_THAT(trained->tokens, Not(Contains("z")));
  EXPECT_THAT(trained->tokens, Not(Contains("##a"))) << "only z had it behind itself";
}

TEST(VocabularyTrainerTest, BpeLearnsFromThePartsBetweenRareCharacters) {
  VocabularyTrainer trainer({.kind = VocabularyKind::kBpe, .vocab_size = 30, .alphabet_limit = 2});
  trainer.AddText("abzab abzab abzab");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_THAT(std::vector<std::string>(trained->tokens.begin() + 5, trained->tokens.end()),
              ElementsAre("a", "b", "b</w>", "ab", "ab</w>"));
}

TEST(VocabularyTrainerTest, CasedKeepsCase) {
  VocabularyTrainer trainer({.vocab_size = 30, .normalizer = {.lowercase = false}});
  trainer.AddText("Ab Ab ab ab");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_THAT(trained->tokens, Contains("Ab"));
  EXPECT_THAT(trained->tokens, Contains("ab"));
}

TEST(VocabularyTrainerTest, CountsPastThirtyTwoBits) {
  // 70,000 x 70,000 of a pair, which a signed 32-bit count would take for a negative number.
  PairTable table;
  table.AddWord({1, 2}, uint64_t{70'000} * 70'000);
  table.AddWord({1, 3}, 2'000'000'000);
  table.CountPairs();
  const auto order = OrderByFrequency(table, 2);
  ASSERT_TRUE(order->Best());
  EXPECT_EQ(table.pair(*order->Best()), (TokenPair{1, 2}));
  EXPECT_EQ(table.count(*order->Best()), uint64_t{4'900'000'000});
}

TEST(VocabularyTrainerTest, TellsHowFarItIs) {
  std::vector<size_t> told;
  VocabularyTrainer trainer(
      {.kind = VocabularyKind::kByteLevelBpe, .vocab_size = 300, .min_frequency = 1, .progress = [&](size_t tokens) {
         told.push_back(tokens);
       }});
  trainer.AddText("the quick brown fox jumps over the lazy dog, packs my box with five dozen liquor jugs and sphinxes");
  const auto trained = trainer.Train();
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_THAT(told, ElementsAre(300u));
}

TEST(VocabularyTrainerTest, SaysWhyItCannot) {
  EXPECT_THAT(VocabularyTrainer({}).Train().status().message(), HasSubstr("no words"));
  VocabularyTrainer trainer({.vocab_size = 8});
  trainer.AddText("abcdef");
  EXPECT_THAT(trainer.Train().status().message(), HasSubstr("a vocabulary of 8 does not hold"));
}

}  // namespace
}  // namespace bert::text
