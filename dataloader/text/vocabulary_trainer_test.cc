#include "dataloader/text/vocabulary_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bert::text {
namespace {

using ::testing::HasSubstr;

std::string Repeat(const std::map<std::string, int>& words) {
  std::string text;
  for (const auto& [word, count] : words) {
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, word, " ");
  }
  return text;
}

TEST(VocabularyTrainerTest, WorkedExample) {
  VocabularyTrainer trainer({.vocab_size = 23});
  trainer.AddText(Repeat({{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}}));
  EXPECT_EQ(trainer.words(), 36u);
  EXPECT_EQ(trainer.distinct_words(), 5u);
  const auto vocabulary = trainer.Train();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->ToText(),
            absl::StrJoin({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b",    "g",   "h",   "n",   "p",    "s",  "u",
                           "##g",   "##n",   "##s",   "##u",   "##ug",   "##un", "hug", "pun", "pug", "hugs", "bun"},
                          "\n") +
                "\n");
}

TEST(VocabularyTrainerTest, StopsWherePairsBecomeRare) {
  VocabularyTrainer trainer({.vocab_size = 1000, .min_frequency = 12});
  trainer.AddText(Repeat({{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}}));
  const auto vocabulary = trainer.Train();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->Token(vocabulary->size() - 1), "pun");
}

TEST(VocabularyTrainerTest, OverlappingPairsMergeFromTheLeft) {
  VocabularyTrainer trainer({.vocab_size = 9});
  trainer.AddText("xaaaa xaaaa xaaa");
  const auto vocabulary = trainer.Train();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  // a x ##a, then ##a+##a: x ##aa ##aa, x ##aa ##aa, x ##aa ##a.
  EXPECT_EQ(vocabulary->Token(7), "##a");
  EXPECT_EQ(vocabulary->Token(8), "##aa");
}

TEST(VocabularyTrainerTest, OrderOfTheTextDoesNotMatter) {
  std::mt19937 random(7);
  std::vector<std::string> words;
  for (int i = 0; i < 3000; ++i) {
    std::string word;
    const size_t length = 1 + random() % 8;
    while (word.size() < length) word.push_back(static_cast<char>('a' + random() % 6));
    words.push_back(word);
  }
  VocabularyTrainer one({.vocab_size = 400});
  one.AddText(absl::StrJoin(words, " "));
  std::shuffle(words.begin(), words.end(), random);
  VocabularyTrainer many({.vocab_size = 400});
  for (const std::string& word : words) many.AddText(word);
  const auto first = one.Train();
  const auto second = many.Train();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->size(), 400u);
  EXPECT_EQ(first->ToText(), second->ToText());
}

// Merges done the slow way: every pair counted anew before every merge.
std::vector<std::string> SlowMerges(const std::map<std::string, uint64_t>& counts, std::vector<std::string> tokens,
                                    size_t vocab_size) {
  std::map<std::string, size_t> ids;
  for (size_t id = 0; id < tokens.size(); ++id) ids[tokens[id]] = id;
  std::vector<std::pair<std::vector<size_t>, uint64_t>> words;
  for (const auto& [word, count] : counts) {
    std::vector<size_t> pieces;
    for (const char c : word) pieces.push_back(ids.at((pieces.empty() ? "" : "##") + std::string(1, c)));
    words.emplace_back(pieces, count);
  }
  while (tokens.size() < vocab_size) {
    std::map<std::pair<size_t, size_t>, uint64_t> pairs;
    for (const auto& [word, count] : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) pairs[{word[i], word[i + 1]}] += count;
    }
    std::pair<size_t, size_t> best;
    uint64_t best_count = 1;
    for (const auto& [pair, count] : pairs) {
      if (count > best_count) std::tie(best, best_count) = std::pair(pair, count);
    }
    if (best_count < 2) break;
    const std::string merged = tokens[best.first] + tokens[best.second].substr(2);
    const auto [entry, added] = ids.emplace(merged, tokens.size());
    if (added) tokens.push_back(merged);
    for (auto& [word, count] : words) {
      std::vector<size_t> next;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool here = i + 1 < word.size() && std::pair(word[i], word[i + 1]) == best;
        next.push_back(here ? entry->second : word[i]);
        i += here ? 1 : 0;
      }
      word = next;
    }
  }
  return tokens;
}

TEST(VocabularyTrainerTest, AgreesWithCountingAnewForEveryMerge) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    std::map<std::string, uint64_t> counts;
    VocabularyTrainer trainer({.vocab_size = 60});
    for (int i = 0; i < 200; ++i) {
      std::string word;
      const size_t length = 1 + random() % 10;
      while (word.size() < length) word.push_back(static_cast<char>('a' + random() % 3));
      ++counts[word];
      trainer.AddText(word);
    }
    const auto vocabulary = trainer.Train();
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
    std::vector<std::string> start = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a", "##b", "##c"};
    EXPECT_EQ(vocabulary->ToText(), absl::StrJoin(SlowMerges(counts, start, 60), "\n") + "\n");
  }
}

TEST(VocabularyTrainerTest, RareCharactersFallOutOfTheAlphabetWithTheirWords) {
  VocabularyTrainer trainer({.vocab_size = 30, .alphabet_limit = 2});
  trainer.AddText("ab ab ab za za");
  const auto vocabulary = trainer.Train();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_TRUE(vocabulary->Id("ab"));
  EXPECT_FALSE(vocabulary->Id("z"));
  EXPECT_FALSE(vocabulary->Id("##a")) << "only z had it behind itself";
}

TEST(VocabularyTrainerTest, CasedKeepsCase) {
  VocabularyTrainer trainer({.vocab_size = 30, .normalizer = {.lowercase = false}});
  trainer.AddText("Ab Ab ab ab");
  const auto vocabulary = trainer.Train();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_TRUE(vocabulary->Id("Ab"));
  EXPECT_TRUE(vocabulary->Id("ab"));
}

TEST(VocabularyTrainerTest, SaysWhyItCannot) {
  EXPECT_THAT(VocabularyTrainer({}).Train().status().message(), HasSubstr("no words"));
  VocabularyTrainer trainer({.vocab_size = 8});
  trainer.AddText("abcdef");
  EXPECT_THAT(trainer.Train().status().message(), HasSubstr("a vocabulary of 8 does not hold"));
}

}  // namespace
}  // namespace bert::text
