// What is chosen and what replaces it, held against the exact distributions by chi-square tests. The draws are the
// generator's at fixed seeds, so a test either always passes or always fails; a right distribution fails one test in
// 10,000 seeds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string>

#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/sampling/masking.h"

namespace bert::sampling {
namespace {

constexpr int32_t kVocabSize = 100;
constexpr int32_t kWord = 10;
constexpr int32_t kContinuation = 90;
constexpr int32_t kMask = 4;

// Outcomes as sets of positions.
using Distribution = std::map<std::vector<uint16_t>, double>;
using Counts = std::map<std::vector<uint16_t>, int64_t>;

const corpus::VocabularyFacts& Vocabulary() {
  static const auto* const kVocabulary =
      new corpus::VocabularyFacts(*corpus::ParseVocabulary(corpus::SyntheticVocabulary(kVocabSize), "vocab.txt"));
  return *kVocabulary;
}

// The value that chi-square of so many degrees of freedom exceeds with probability 1e-4 (Wilson and Hilferty, 1931).
double CriticalValue(double degrees) {
  constexpr double kNormalQuantile = 3.719;
  const double share = 2 / (9 * degrees);
  return degrees * std::pow(1 - share + kNormalQuantile * std::sqrt(share), 3);
}

void ExpectDrawnFrom(const Distribution& exact, const Counts& counts) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0,
                                       [](double sum, const auto& entry) { return sum + entry.second; });
  for (const auto& [outcome, count] : counts) {
    ASSERT_EQ(exact.count(outcome), 1u) << "impossible: " << testing::PrintToString(outcome) << " " << count
                                        << " times";
  }
  double chi_square = 0;
  double mass = 0;
  for (const auto& [outcome, probability] : exact) {
    mass += probability;
    const double expected = probability * total;
    ASSERT_GT(expected, 10) << testing::PrintToString(outcome);
    const auto found = counts.find(outcome);
    const double count = found == counts.end() ? 0.0 : static_cast<double>(found->second);
    chi_square += (count - expected) * (count - expected) / expected;
  }
  ASSERT_NEAR(mass, 1, 1e-9);
  EXPECT_LT(chi_square, CriticalValue(static_cast<double>(exact.size()) - 1)) << exact.size() << " outcomes";
}

// A row of two segments; each inner list is the words' lengths of one.
struct Row {
  std::vector<int32_t> token_ids;
  std::vector<TextSpan> texts;
  // [segment][word] -> positions.
  std::vector<std::vector<std::vector<uint16_t>>> words;
};

Row MakeRow(const std::vector<std::vector<int>>& segments) {
  Row row;
  for (const std::vector<int>& lengths : segments) {
    row.token_ids.push_back(2);
    const auto begin = static_cast<uint16_t>(row.token_ids.size());
    auto& words = row.words.emplace_back();
    for (const int length : lengths) {
      auto& word = words.emplace_back();
      for (int i = 0; i < length; ++i) {
        word.push_back(static_cast<uint16_t>(row.token_ids.size()));
        row.token_ids.push_back(i == 0 ? kWord : kContinuation);
      }
    }
    row.texts.push_back({begin, static_cast<uint16_t>(row.token_ids.size())});
    row.token_ids.push_back(3);
  }
  return row;
}

Counts Draw(const Row& row, const Masking& masking, uint64_t seed, int draws) {
  Masker masker(Vocabulary(), masking, seed);
  Counts counts;
  for (int draw = 0; draw < draws; ++draw) {
    std::vector<int32_t> ids = row.token_ids;
    std::vector<uint16_t> positions;
    std::vector<int32_t> labels;
    // Over epochs and over rows.
    masker.MaskRow(static_cast<uint64_t>(draw % 7), draw / 7, absl::MakeSpan(ids), row.texts, &positions, &labels);
    ++counts[positions];
  }
  return counts;
}

// Every order of `size` things with its probability.
void ForEachOrder(int size, const std::function<void(const std::vector<int>&, double)>& visit) {
  std::vector<int> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  const double probability = 1 / std::tgamma(size + 1);
  do {
    visit(order, probability);
  } while (std::next_permutation(order.begin(), order.end()));
}

// create_masked_lm_predictions of the released BERT, told by its description: words in random order, each taken if it
// fits into what is left.
Distribution WholeWords(const Row& row, int budget) {
  std::vector<std::vector<uint16_t>> words;
  for (const auto& segment : row.words) words.insert(words.end(), segment.begin(), segment.end());
  Distribution exact;
  ForEachOrder(static_cast<int>(words.size()), [&](const std::vector<int>& order, double probability) {
    std::vector<uint16_t> chosen;
    for (const int i : order) {
      const auto& word = words[static_cast<size_t>(i)];
      if (static_cast<int>(chosen.size() + word.size()) <= budget) {
        chosen.insert(chosen.end(), word.begin(), word.end());
      }
    }
    std::sort(chosen.begin(), chosen.end());
    exact[chosen] += probability;
  });
  return exact;
}

// The same of the released ALBERT, for n-grams of up to `ngram_max` words.
Distribution Ngrams(const Row& row, int budget, int ngram_max) {
  struct Start {
    const std::vector<std::vector<uint16_t>>* segment;
    size_t word;
  };
  std::vector<Start> starts;
  for (const auto& segment : row.words) {
    for (size_t word = 0; word < segment.size(); ++word) starts.push_back({&segment, word});
  }
  Distribution exact;
  ForEachOrder(static_cast<int>(starts.size()), [&](const std::vector<int>& order, double order_probability) {
    const std::function<void(size_t, const std::vector<uint16_t>&, double)> take =
        [&](size_t next, const std::vector<uint16_t>& chosen, double probability) {
          if (next == order.size() || static_cast<int>(chosen.size()) >= budget) {
            std::vector<uint16_t> sorted = chosen;
            std::sort(sorted.begin(), sorted.end());
            exact[sorted] += probability;
            return;
          }
          const Start start = starts[static_cast<size_t>(order[next])];
          const size_t most = std::min<size_t>(static_cast<size_t>(ngram_max), start.segment->size() - start.word);
          double weights = 0;
          for (size_t n = 1; n <= most; ++n) weights += 1.0 / static_cast<double>(n);
          for (size_t drawn = 1; drawn <= most; ++drawn) {
            const double branch = probability / static_cast<double>(drawn) / weights;
            const auto tokens = [&](size_t n) {
              std::vector<uint16_t> positions;
              for (size_t i = 0; i < n; ++i) {
                const auto& word = (*start.segment)[start.word + i];
                positions.insert(positions.end(), word.begin(), word.end());
              }
              return positions;
            };
            size_t n = drawn;
            while (n > 0 && static_cast<int>(chosen.size() + tokens(n).size()) > budget) --n;
            std::vector<uint16_t> added = tokens(n);
            const bool covered = std::any_of(added.begin(), added.end(), [&](uint16_t position) {
              return std::find(chosen.begin(), chosen.end(), position) != chosen.end();
            });
            if (n == 0 || covered) added.clear();
            std::vector<uint16_t> then = chosen;
            then.insert(then.end(), added.begin(), added.end());
            take(next + 1, then, branch);
          }
        };
    take(0, {}, order_probability);
  });
  return exact;
}

TEST(MaskingDistributionTest, SingleTokens) {
  const Row row = MakeRow({{1, 3}, {2, 1}});
  // Each of the 21 twos of 7 tokens is equally likely.
  const Row tokens = MakeRow({{1, 1, 1, 1}, {1, 1, 1}});
  ExpectDrawnFrom(WholeWords(tokens, 2), Draw(row, {.probability = 0.3, .whole_word = false}, 1, 60'000));
}

TEST(MaskingDistributionTest, WholeWords) {
  const Row row = MakeRow({{1, 2, 1}, {3, 1, 2}});
  for (const int budget : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(budget);
    ExpectDrawnFrom(WholeWords(row, budget),
                    Draw(row, {.probability = budget / 10.0}, static_cast<uint64_t>(budget), 60'000));
  }
}

TEST(MaskingDistributionTest, TheCapIsABudget) {
  const Row row = MakeRow({{1, 2, 1}, {3, 1, 2}});
  ExpectDrawnFrom(WholeWords(row, 3), Draw(row, {.probability = 0.5, .max_predictions_per_seq = 3}, 9, 60'000));
}

// A word cut by packing: its pieces in the row make a word there.
TEST(MaskingDistributionTest, WordsCutAtTheBegin) {
  Row row = MakeRow({{2, 1, 1, 1}, {1, 1, 2}});
  row.token_ids[1] = kContinuation;  // "##a ##b c d e": what came before is in another row.
  ASSERT_EQ(row.token_ids[2], kContinuation);
  ExpectDrawnFrom(WholeWords(row, 3), Draw(row, {.probability = 0.33}, 4, 60'000));
}

TEST(MaskingDistributionTest, NgramsOfWords) {
  const Row row = MakeRow({{1, 2, 1}, {1, 1}});
  for (const int ngram_max : {2, 3, 16}) {
    for (const int budget : {2, 3}) {
      SCOPED_TRACE(ngram_max * 10 + budget);
      ExpectDrawnFrom(Ngrams(row, budget, ngram_max),
                      Draw(row, {.probability = budget / 6.0, .ngram_max = ngram_max}, 5, 60'000));
    }
  }
}

TEST(MaskingDistributionTest, NgramsOfTokens) {
  const Row row = MakeRow({{3}, {2}});
  const Row tokens = MakeRow({{1, 1, 1}, {1, 1}});
  ExpectDrawnFrom(Ngrams(tokens, 3, 3),
                  Draw(row, {.probability = 0.6, .whole_word = false, .ngram_max = 3}, 6, 60'000));
}

// [MASK], the token itself, or any other one that is not special: 80%, 10% + 10%/95, and 10%/95 each.
TEST(MaskingDistributionTest, Replacements) {
  const Row row = MakeRow({{1, 1, 1, 1, 1}});
  Masker masker(Vocabulary(), {.probability = 1}, 7);
  Counts counts;
  for (int draw = 0; draw < 60'000; ++draw) {
    std::vector<int32_t> ids = row.token_ids;
    std::vector<uint16_t> positions;
    std::vector<int32_t> labels;
    masker.MaskRow(0, draw, absl::MakeSpan(ids), row.texts, &positions, &labels);
    ASSERT_EQ(positions.size(), 5u);
    for (const uint16_t position : positions) ++counts[{static_cast<uint16_t>(ids[position])}];
  }
  Distribution exact;
  for (uint16_t id = 5; id < kVocabSize; ++id) exact[{id}] = 0.1 / (kVocabSize - 5);
  exact[{kMask}] = 0.8;
  exact[{kWord}] += 0.1;
  ExpectDrawnFrom(exact, counts);
}

// Neighbouring tokens are replaced independently of one another.
TEST(MaskingDistributionTest, ReplacementsAreIndependent) {
  const Row row = MakeRow({{1, 1}});
  Masker masker(Vocabulary(), {.probability = 1, .mask_share = 0.5, .random_share = 0}, 8);
  Counts counts;
  for (int draw = 0; draw < 60'000; ++draw) {
    std::vector<int32_t> ids = row.token_ids;
    std::vector<uint16_t> positions;
    std::vector<int32_t> labels;
    masker.MaskRow(0, draw, absl::MakeSpan(ids), row.texts, &positions, &labels);
    ++counts[{static_cast<uint16_t>(ids[1] == kMask), static_cast<uint16_t>(ids[2] == kMask)}];
  }
  ExpectDrawnFrom({{{0, 0}, 0.25}, {{0, 1}, 0.25}, {{1, 0}, 0.25}, {{1, 1}, 0.25}}, counts);
}

}  // namespace
}  // namespace bert::sampling
