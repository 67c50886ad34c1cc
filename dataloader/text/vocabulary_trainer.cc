#include "dataloader/text/vocabulary_trainer.h"

#include <algorithm>
#include <iterator>
#include <queue>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/check.h"
#include "dataloader/text/pretokenizer.h"
#include "dataloader/text/unicode.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {
namespace {

using WordCount = std::pair<std::string_view, uint64_t>;

// Two neighbouring token ids.
using Pair = std::pair<uint32_t, uint32_t>;

struct PairState {
  uint64_t count = 0;
  // Words in which the pair is or was; a word may be named twice.
  std::vector<uint32_t> words;
};

struct Candidate {
  uint64_t count;
  Pair pair;

  // The largest comes first out of the queue: the highest count, then the oldest tokens.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

std::string Continuation(std::string_view piece) { return std::string(kContinuationPrefix).append(piece); }

std::vector<std::string_view> SplitCodePoints(std::string_view word) {
  std::vector<std::string_view> parts;
  for (size_t offset = 0; offset < word.size();) {
    const size_t begin = offset;
    DecodeUtf8(word, &offset);
    parts.push_back(word.substr(begin, offset - begin));
  }
  return parts;
}

// The most frequent characters, at most `limit`, in the order of their code points (which is that of UTF-8 bytes).
std::vector<std::string_view> Alphabet(const std::vector<WordCount>& words, size_t limit) {
  absl::flat_hash_map<std::string_view, uint64_t> counts;
  for (const auto& [word, count] : words) {
    for (const std::string_view character : SplitCodePoints(word)) counts[character] += count;
  }
  std::vector<WordCount> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(), [](const WordCount& a, const WordCount& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  if (sorted.size() > limit) sorted.resize(limit);
  std::vector<std::string_view> alphabet;
  for (const auto& [character, count] : sorted) alphabet.push_back(character);
  std::sort(alphabet.begin(), alphabet.end());
  return alphabet;
}

// The state of one training run.
class Merger {
 public:
  explicit Merger(size_t vocab_size) : vocab_size_(vocab_size) {
    for (const std::string_view token : kSpecialTokens) AddToken(std::string(token));
  }

  // False when the special tokens and the alphabet alone are too many.
  bool AddAlphabet(const std::vector<std::string_view>& alphabet, const std::vector<WordCount>& words) {
    const absl::flat_hash_set<std::string_view> known(alphabet.begin(), alphabet.end());
    absl::flat_hash_set<std::string_view> inside;
    std::vector<std::vector<std::string_view>> kept;
    for (const auto& [word, count] : words) {
      std::vector<std::string_view> parts = SplitCodePoints(word);
      if (!std::all_of(parts.begin(), parts.end(), [&](std::string_view part) { return known.contains(part); })) {
        continue;
      }
      inside.insert(std::next(parts.begin()), parts.end());
      kept.push_back(std::move(parts));
      counts_.push_back(count);
    }
    for (const std::string_view character : alphabet) AddToken(std::string(character));
    std::vector<std::string_view> continuations(inside.begin(), inside.end());
    std::sort(continuations.begin(), continuations.end());
    for (const std::string_view character : continuations) AddToken(Continuation(character));
    for (const std::vector<std::string_view>& parts : kept) {
      std::vector<uint32_t> word;
      for (const std::string_view part : parts) {
        word.push_back(ids_.at(word.empty() ? std::string(part) : Continuation(part)));
      }
      words_.push_back(std::move(word));
    }
    return tokens_.size() <= vocab_size_;
  }

  void Run(uint64_t min_frequency) {
    for (uint32_t word = 0; word < words_.size(); ++word) {
      ForEachPair(words_[word], [&](Pair pair) {
        PairState& state = pairs_[pair];
        state.count += counts_[word];
        if (state.words.empty() || state.words.back() != word) state.words.push_back(word);
      });
    }
    for (const auto& [pair, state] : pairs_) queue_.push({state.count, pair});
    while (tokens_.size() < vocab_size_ && !queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const uint64_t count = pairs_[top.pair].count;
      if (count != top.count) {
        // Counts mostly fall after they were queued. Where one rose, a newer entry stands for it.
        if (count > 0 && count < top.count) queue_.push({count, top.pair});
        continue;
      }
      if (count < std::max<uint64_t>(min_frequency, 1)) break;
      Merge(top.pair);
    }
  }

  std::vector<std::string> TakeTokens() { return std::move(tokens_); }

 private:
  template <typename Function>
  static void ForEachPair(const std::vector<uint32_t>& word, Function function) {
    for (size_t i = 0; i + 1 < word.size(); ++i) function(Pair(word[i], word[i + 1]));
  }

  uint32_t AddToken(std::string token) {
    const auto [entry, added] = ids_.emplace(token, static_cast<uint32_t>(tokens_.size()));
    if (added) tokens_.push_back(std::move(token));
    return entry->second;
  }

  void Merge(Pair pair) {
    // The same string may have been merged before from other parts; then it keeps its id.
    const uint32_t merged =
        AddToken(absl::StrCat(tokens_[pair.first], tokens_[pair.second].substr(kContinuationPrefix.size())));
    const std::vector<uint32_t> where = std::move(pairs_[pair].words);
    absl::flat_hash_set<Pair> risen;
    std::vector<uint32_t> replaced;
    for (const uint32_t index : where) {
      std::vector<uint32_t>& word = words_[index];
      replaced.clear();
      for (size_t i = 0; i < word.size(); ++i) {
        const bool here = i + 1 < word.size() && word[i] == pair.first && word[i + 1] == pair.second;
        replaced.push_back(here ? merged : word[i]);
        if (here) ++i;
      }
      if (replaced.size() == word.size()) continue;
      ForEachPair(word, [&](Pair old) { pairs_[old].count -= counts_[index]; });
      word = replaced;
      ForEachPair(word, [&](Pair now) {
        PairState& state = pairs_[now];
        state.count += counts_[index];
        if (now.first != merged && now.second != merged) return;
        risen.insert(now);
        if (state.words.empty() || state.words.back() != index) state.words.push_back(index);
      });
    }
    BERT_CHECK(pairs_[pair].count == 0) << "a pair is left after its merge";
    for (const Pair& now : risen) queue_.push({pairs_[now].count, now});
  }

  const size_t vocab_size_;
  std::vector<std::string> tokens_;
  absl::flat_hash_map<std::string, uint32_t> ids_;
  std::vector<std::vector<uint32_t>> words_;
  std::vector<uint64_t> counts_;
  absl::flat_hash_map<Pair, PairState> pairs_;
  // Its order is total, so the order in which the hash tables above are walked does not show.
  std::priority_queue<Candidate> queue_;
};

}  // namespace

VocabularyTrainer::VocabularyTrainer(const VocabularyTrainerOptions& options)
    : options_(options), normalizer_(options.normalizer) {}

void VocabularyTrainer::AddText(std::string_view text) {
  normalizer_.Normalize(text, &scratch_);
  ForEachWord(scratch_, [this](std::string_view word) {
    ++words_;
    if (word.size() > kWordCodePointsMax && CountCodePoints(word) > kWordCodePointsMax) return;
    ++counts_[absl::string_view(word.data(), word.size())];
  });
}

absl::StatusOr<Vocabulary> VocabularyTrainer::Train() const {
  if (counts_.empty()) return absl::InvalidArgumentError("the text has no words to learn a vocabulary from");
  std::vector<WordCount> words(counts_.begin(), counts_.end());
  std::sort(words.begin(), words.end());
  const std::vector<std::string_view> alphabet = Alphabet(words, options_.alphabet_limit);
  Merger merger(options_.vocab_size);
  if (!merger.AddAlphabet(alphabet, words)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary of ", options_.vocab_size, " does not hold ", kSpecialTokens.size(),
                     " special tokens and an alphabet of ", alphabet.size(),
                     " characters, each alone and inside words; ask for a larger vocabulary or a smaller alphabet"));
  }
  merger.Run(options_.min_frequency);
  return Vocabulary::FromTokens(merger.TakeTokens());
}

}  // namespace bert::text
