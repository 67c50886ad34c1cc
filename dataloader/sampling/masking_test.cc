#include "dataloader/sampling/masking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "dataloader/corpus/synthetic_dataset.h"

namespace bert::sampling {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int32_t kVocabSize = 1000;
constexpr int32_t kFirstContinuation = 750;
constexpr int32_t kCls = 2;
constexpr int32_t kSep = 3;
constexpr int32_t kMask = 4;

corpus::VocabularyFacts Vocabulary() {
  return *corpus::ParseVocabulary(corpus::SyntheticVocabulary(kVocabSize), "vocab.txt");
}

struct Row {
  std::vector<int32_t> original;
  std::vector<uint16_t> segment_lengths;
  std::vector<int32_t> token_ids;  // After masking.
  std::vector<uint16_t> positions;
  std::vector<int32_t> labels;

  // Between the special tokens of each segment.
  std::vector<TextSpan> texts() const {
    std::vector<TextSpan> spans;
    int begin = 0;
    for (const uint16_t length : segment_lengths) {
      spans.push_back({static_cast<uint16_t>(begin + 1), static_cast<uint16_t>(begin + length - 1)});
      begin += length;
    }
    return spans;
  }
  int maskable() const { return static_cast<int>(original.size() - 2 * segment_lengths.size()); }
};

// Two segments of random words, together `length` tokens.
Row MakeRow(uint64_t seed, int length) {
  std::mt19937_64 generator(seed);
  Row row;
  const int first = length / 3;
  for (const int segment : {first, length - first}) {
    row.segment_lengths.push_back(static_cast<uint16_t>(segment));
    row.original.push_back(kCls);
    for (int i = 2; i < segment; ++i) {
      const bool continues = generator() % 4 == 0;
      row.original.push_back(
          static_cast<int32_t>(continues ? kFirstContinuation + generator() % 250 : 5 + generator() % 745));
    }
    row.original.push_back(kSep);
  }
  row.token_ids = row.original;
  return row;
}

void Mask(Masker& masker, uint64_t epoch, int64_t number, Row* row) {
  row->token_ids = row->original;
  row->positions.clear();
  row->labels.clear();
  const int count =
      masker.MaskRow(epoch, number, absl::MakeSpan(row->token_ids), row->texts(), &row->positions, &row->labels);
  ASSERT_EQ(static_cast<size_t>(count), row->positions.size());
}

// Where pieces say that a word ends, as "b</w>" does, a word is what lies between: chosen whole or not at all.
TEST(MaskingTest, APieceMayEndItsWord) {
  corpus::VocabularyFacts vocabulary = Vocabulary();
  constexpr int32_t kInside = 100;
  constexpr int32_t kEnd = 101;
  vocabulary.is_continuation.assign(kVocabSize, 1);
  vocabulary.ends_word.assign(kVocabSize, 0);
  vocabulary.ends_word[kEnd] = 1;
  // Words of two pieces, and one of one.
  Row row;
  row.original = {kCls, kInside, kEnd, kInside, kEnd, kEnd, kInside, kEnd, kInside, kEnd, kSep};
  row.segment_lengths = {11};
  const std::vector<std::vector<uint16_t>> words = {{1, 2}, {3, 4}, {5}, {6, 7}, {8, 9}};
  std::set<std::vector<uint16_t>> seen;
  for (int number = 0; number < 200; ++number) {
    Masker masker(vocabulary, {.probability = 0.2}, 3);
    Mask(masker, 0, number, &row);
    seen.insert(row.positions);
  }
  // Two of nine tokens: each of the words, the single one never with half of another.
  EXPECT_EQ(seen, std::set<std::vector<uint16_t>>(words.begin(), words.end()));
}

TEST(MaskingTest, KeepsItsPromisesOnEveryRow) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  for (const bool whole_word : {true, false}) {
    for (int number = 0; number < 500; ++number) {
      SCOPED_TRACE(number);
      Row row = MakeRow(static_cast<uint64_t>(number), 12 + number % 300);
      Masker masker(vocabulary, {.whole_word = whole_word}, 11);
      Mask(masker, 2, number, &row);
      const int budget = std::max(1, static_cast<int>(std::lround(0.15 * row.maskable())));
      ASSERT_LE(static_cast<int>(row.positions.size()), budget);
      if (!whole_word) {
        ASSERT_EQ(static_cast<int>(row.positions.size()), budget);
      }
      ASSERT_TRUE(std::is_sorted(row.positions.begin(), row.positions.end()));
      const std::set<uint16_t> chosen(row.positions.begin(), row.positions.end());
      ASSERT_EQ(chosen.size(), row.positions.size());
      for (size_t i = 0; i < row.positions.size(); ++i) {
        const uint16_t position = row.positions[i];
        ASSERT_EQ(row.labels[i], row.original[position]);
        ASSERT_NE(row.original[position], kCls);
        ASSERT_NE(row.original[position], kSep);
      }
      for (size_t p = 0; p < row.original.size(); ++p) {
        const bool is_chosen = chosen.count(static_cast<uint16_t>(p)) != 0;
        if (!is_chosen) {
          ASSERT_EQ(row.token_ids[p], row.original[p]);
        } else {
          // [MASK], or no special token.
          ASSERT_GE(row.token_ids[p], kMask);
          ASSERT_LT(row.token_ids[p], kVocabSize);
        }
        // A continuation is chosen exactly when the piece before it is, unless it begins the part of the document.
        const bool inside_word = row.original[p] >= kFirstContinuation && row.original[p - 1] != kCls;
        if (whole_word && inside_word) {
          ASSERT_EQ(is_chosen, chosen.count(static_cast<uint16_t>(p - 1)) != 0) << "position " << p;
        }
      }
    }
  }
}

TEST(MaskingTest, SharesAreThoseAskedFor) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Masker masker(vocabulary, {}, 5);
  int64_t maskable = 0;
  int64_t chosen = 0;
  int64_t masked = 0;
  int64_t kept = 0;
  std::map<int32_t, int> random_tokens;
  for (int number = 0; number < 4000; ++number) {
    Row row = MakeRow(static_cast<uint64_t>(number), 128);
    Mask(masker, 0, number, &row);
    maskable += row.maskable();
    chosen += static_cast<int64_t>(row.positions.size());
    for (size_t i = 0; i < row.positions.size(); ++i) {
      const int32_t now = row.token_ids[row.positions[i]];
      if (now == kMask) {
        ++masked;
      } else if (now == row.labels[i]) {
        ++kept;
      } else {
        ++random_tokens[now];
      }
    }
  }
  const auto total = static_cast<double>(chosen);
  // 19 of the 124 tokens of each row, but where only longer words are left.
  EXPECT_NEAR(total / static_cast<double>(maskable), 19.0 / 124, 0.0002);
  // Five standard deviations of a share of 74,000 draws: 0.0074 at 0.8, 0.0055 at 0.1.
  EXPECT_NEAR(static_cast<double>(masked) / total, 0.8, 0.0074);
  EXPECT_NEAR(static_cast<double>(kept) / total, 0.1, 0.0056);
  // All 995 ordinary tokens turn up (7.4 times each on average), none of the special ones.
  EXPECT_GT(random_tokens.size(), 980u);
  EXPECT_GE(random_tokens.begin()->first, 5);
}

// Every word of a row is chosen about equally often.
TEST(MaskingTest, PositionsAreUniform) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Masker masker(vocabulary, {.whole_word = false}, 6);
  Row row = MakeRow(1, 64);
  std::vector<int> counts(64);
  constexpr int kEpochs = 20'000;
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    Mask(masker, epoch, 0, &row);
    for (const uint16_t position : row.positions) ++counts[position];
  }
  // 9 of 60 tokens: mean 3000, standard deviation 50; five of them.
  for (size_t p = 0; p < counts.size(); ++p) {
    if (row.original[p] == kCls || row.original[p] == kSep) {
      EXPECT_EQ(counts[p], 0);
    } else {
      EXPECT_NEAR(counts[p], 3000, 250) << "position " << p;
    }
  }
}

TEST(MaskingTest, DependsOnSeedEpochAndRowOnly) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Row row = MakeRow(9, 128);
  Masker masker(vocabulary, {}, 1);
  Mask(masker, 3, 7, &row);
  const Row first = row;
  for (int other = 0; other < 10; ++other) Mask(masker, 1, other, &row);
  Mask(masker, 3, 7, &row);
  EXPECT_EQ(row.token_ids, first.token_ids);
  EXPECT_EQ(row.positions, first.positions);
  Masker again(vocabulary, {}, 1);
  Mask(again, 3, 7, &row);
  EXPECT_EQ(row.token_ids, first.token_ids);
  Mask(masker, 4, 7, &row);
  EXPECT_NE(row.positions, first.positions);
  Mask(masker, 3, 8, &row);
  EXPECT_NE(row.positions, first.positions);
  Masker other_seed(vocabulary, {}, 2);
  Mask(other_seed, 3, 7, &row);
  EXPECT_NE(row.positions, first.positions);
}

TEST(MaskingTest, ASmallRowGivesOneWordOrNone) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Masker masker(vocabulary, {}, 1);
  Row one{.original = {kCls, 10, kSep}, .segment_lengths = {3}, .token_ids = {}, .positions = {}, .labels = {}};
  Mask(masker, 0, 0, &one);
  EXPECT_THAT(one.positions, ElementsAre(1));
  EXPECT_THAT(one.labels, ElementsAre(10));
  // A word of two pieces exceeds a budget of one token.
  Row word{.original = {kCls, 10, 800, kSep}, .segment_lengths = {4}, .token_ids = {}, .positions = {}, .labels = {}};
  Mask(masker, 0, 0, &word);
  EXPECT_TRUE(word.positions.empty());
  // Where a part begins inside a word, its first piece begins one.
  Row cut{.original = {kCls, 800, kSep}, .segment_lengths = {3}, .token_ids = {}, .positions = {}, .labels = {}};
  Mask(masker, 0, 0, &cut);
  EXPECT_THAT(cut.positions, ElementsAre(1));
}

TEST(MaskingTest, NeverMoreThanTheCap) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  for (const bool whole_word : {true, false}) {
    Masker capped(vocabulary, {.whole_word = whole_word, .max_predictions_per_seq = 7}, 3);
    Masker uncapped(vocabulary, {.whole_word = whole_word, .max_predictions_per_seq = 19}, 3);
    Masker free(vocabulary, {.whole_word = whole_word}, 3);
    for (int number = 0; number < 200; ++number) {
      Row row = MakeRow(static_cast<uint64_t>(number), 128);  // A budget of 19.
      Mask(capped, 0, number, &row);
      ASSERT_LE(row.positions.size(), 7u);
      ASSERT_GE(row.positions.size(), whole_word ? 1u : 7u);
      Mask(uncapped, 0, number, &row);
      const std::vector<uint16_t> positions = row.positions;
      Mask(free, 0, number, &row);
      ASSERT_EQ(row.positions, positions);
    }
  }
}

// Chosen n-grams are whole words next to one another in one segment, and no longer than asked for where nothing else
// was chosen beside them.
TEST(MaskingTest, NgramsAreRunsOfWholeWords) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Masker masker(vocabulary, {.ngram_max = 3}, 11);
  int64_t runs = 0;
  int64_t words = 0;
  for (int number = 0; number < 2000; ++number) {
    SCOPED_TRACE(number);
    Row row = MakeRow(static_cast<uint64_t>(number), 128);
    Mask(masker, 2, number, &row);
    ASSERT_LE(row.positions.size(), 19u);
    ASSERT_GE(row.positions.size(), 1u);
    const std::set<uint16_t> chosen(row.positions.begin(), row.positions.end());
    for (const uint16_t position : row.positions) {
      ASSERT_GE(row.original[position], 5);
      const bool continues = row.original[position] >= kFirstContinuation && row.original[position - 1] != kCls;
      if (continues) {
        ASSERT_TRUE(chosen.count(static_cast<uint16_t>(position - 1)));
      }
      const bool next_continues = row.original[position + 1] >= kFirstContinuation;
      if (next_continues) {
        ASSERT_TRUE(chosen.count(static_cast<uint16_t>(position + 1)));
      }
      words += continues ? 0 : 1;
      runs += chosen.count(static_cast<uint16_t>(position - 1)) == 0 ? 1 : 0;
    }
  }
  // Of 1, 2 or 3 words with weights 1, 1/2 and 1/3: 18/11 on average, a little less where the budget ends and more
  // where two touch. Single words alone give 1.13.
  EXPECT_GT(static_cast<double>(words) / static_cast<double>(runs), 1.45);
  EXPECT_LT(static_cast<double>(words) / static_cast<double>(runs), 1.95);
}

// Chinese text is a token a character, none of them a continuation: whole words are characters, n-grams longer.
TEST(MaskingTest, CjkCharactersAreWordsOfTheirOwn) {
  std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  const std::vector<std::string> characters = {"天", "地", "玄", "黃", "宇", "宙", "洪", "荒", "日", "月"};
  for (const std::string& character : characters) lines += character + "\n##" + character + "\n";
  const corpus::VocabularyFacts vocabulary = *corpus::ParseVocabulary(lines, "vocab.txt");
  Row row;
  row.original = {kCls};
  for (int32_t i = 0; i < 100; ++i) row.original.push_back(5 + 2 * (i % 10));
  row.original.push_back(kSep);
  row.segment_lengths = {102};
  Masker masker(vocabulary, {.mask_share = 1, .random_share = 0}, 1);
  std::vector<int> counts(102);
  for (uint64_t epoch = 0; epoch < 2000; ++epoch) {
    Mask(masker, epoch, 0, &row);
    ASSERT_EQ(row.positions.size(), 15u);  // Every budget can be used up: there is no longer word.
    for (const uint16_t position : row.positions) ++counts[position];
  }
  for (int p = 1; p <= 100; ++p) EXPECT_NEAR(counts[static_cast<size_t>(p)], 300, 80);  // Five standard deviations.
  // A piece "##地" belongs to the character before it.
  row.original[50] = 8;
  int together = 0;
  for (uint64_t epoch = 0; epoch < 200; ++epoch) {
    Mask(masker, epoch, 0, &row);
    const std::set<uint16_t> chosen(row.positions.begin(), row.positions.end());
    ASSERT_EQ(chosen.count(49), chosen.count(50));
    together += static_cast<int>(chosen.count(50));
  }
  EXPECT_GT(together, 10);
}

TEST(MaskingTest, ExtremesOfTheShares) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Row row = MakeRow(2, 128);
  Masker none(vocabulary, {.probability = 0}, 1);
  Mask(none, 0, 0, &row);
  EXPECT_TRUE(row.positions.empty());
  Masker all(vocabulary, {.probability = 1, .mask_share = 1, .random_share = 0}, 1);
  Mask(all, 0, 0, &row);
  EXPECT_EQ(static_cast<int>(row.positions.size()), row.maskable());
  for (const uint16_t position : row.positions) EXPECT_EQ(row.token_ids[position], kMask);
  Masker keep(vocabulary, {.probability = 0.5, .mask_share = 0, .random_share = 0}, 1);
  Mask(keep, 0, 0, &row);
  EXPECT_GT(row.positions.size(), 50u);
  EXPECT_EQ(row.token_ids, row.original);
  Masker random(vocabulary, {.probability = 0.5, .mask_share = 0, .random_share = 1}, 1);
  Mask(random, 0, 0, &row);
  for (const uint16_t position : row.positions) EXPECT_GT(row.token_ids[position], kMask);
}

TEST(MaskingTest, LongRowsFitTheirPositions) {
  const corpus::VocabularyFacts vocabulary = Vocabulary();
  Row row = MakeRow(2, 65535);
  Masker masker(vocabulary, {}, 1);
  Mask(masker, 0, 0, &row);
  EXPECT_EQ(row.positions.size(), 9830u);  // 0.15 * 65531, rounded
  EXPECT_GT(row.positions.back(), 60'000);
}

TEST(ValidateMaskingTest, MistakesAreNamed) {
  EXPECT_TRUE(ValidateMasking({}).ok());
  EXPECT_TRUE(ValidateMasking({.mask_share = 0.7, .random_share = 0.3}).ok());
  EXPECT_TRUE(ValidateMasking({.ngram_max = 16, .max_predictions_per_seq = 20}).ok());
  for (const int32_t ngram_max : {-1, 0, 17}) {
    EXPECT_THAT(ValidateMasking({.ngram_max = ngram_max}).message(), HasSubstr("masking.ngram_max"));
  }
  EXPECT_THAT(ValidateMasking({.max_predictions_per_seq = -1}).message(), HasSubstr("max_predictions_per_seq -1"));
  EXPECT_THAT(ValidateMasking({.probability = 1.5}).message(), HasSubstr("masking.probability 1.5"));
  EXPECT_THAT(ValidateMasking({.mask_share = -0.1}).message(), HasSubstr("masking.mask_share"));
  EXPECT_THAT(ValidateMasking({.random_share = std::nan("")}).message(), HasSubstr("masking.random_share"));
  EXPECT_THAT(ValidateMasking({.mask_share = 0.8, .random_share = 0.3}).message(), HasSubstr("more than 1"));
}

}  // namespace
}  // namespace bert::sampling
