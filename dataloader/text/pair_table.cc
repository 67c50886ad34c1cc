#include "dataloader/text/pair_table.h"

#include <utility>

namespace bert::text {

void PairTable::AddWord(absl::Span<const uint32_t> tokens, uint64_t occurrences) {
  if (tokens.empty()) return;
  words_.push_back(
      {.occurrences = occurrences, .begin = tokens_.size(), .length = static_cast<uint32_t>(tokens.size())});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void PairTable::CountPairs() {
  for (uint32_t index = 0; index < words_.size(); ++index) {
    const Word& word = words_[index];
    const uint32_t* tokens = tokens_.data() + word.begin;
    for (uint32_t i = 0; i < word.length; ++i) {
      CountToken(tokens[i], word.occurrences);
      if (i + 1 == word.length) break;
      Entry& entry = pairs_[Number({tokens[i], tokens[i + 1]})];
      entry.count += word.occurrences;
      if (entry.words.empty() || entry.words.back() != index) entry.words.push_back(index);
    }
  }
}

uint32_t PairTable::Number(TokenPair pair) {
  const uint64_t key = uint64_t{pair.first} << 32 | pair.second;
  const auto [entry, added] = numbers_.emplace(key, pairs());
  if (added) pairs_.push_back({.pair = pair, .count = 0, .changed_by = 0, .words = {}});
  return entry->second;
}

void PairTable::CountToken(uint32_t token, uint64_t by) {
  if (token >= token_counts_.size()) token_counts_.resize(token + 1);
  token_counts_[token] += by;
}

void PairTable::Merge(uint32_t number, uint32_t merged, std::vector<uint32_t>* changed) {
  changed->clear();
  ++merges_;
  const TokenPair pair = pairs_[number].pair;
  const std::vector<uint32_t> where = std::exchange(pairs_[number].words, {});
  uint64_t merged_count = 0;
  for (const uint32_t word : where) merged_count += MergeInWord(pair, merged, word, changed);
  // Of three equal tokens in a row one pair is left uncounted by what the neighbours changed: none is left in the
  // words.
  Touch(pair, changed).count = 0;
  // Unsigned arithmetic comes out right, whatever the order.
  CountToken(pair.first, -merged_count);
  CountToken(pair.second, -merged_count);
  CountToken(merged, merged_count);
}

uint64_t PairTable::MergeInWord(TokenPair pair, uint32_t merged, uint32_t index, std::vector<uint32_t>* changed) {
  Word& word = words_[index];
  uint32_t* const tokens = tokens_.data() + word.begin;
  uint64_t found = 0;
  uint32_t written = 0;
  for (uint32_t i = 0; i < word.length; ++i) {
    const bool here = tokens[i] == pair.first && i + 1 < word.length && tokens[i + 1] == pair.second;
    if (!here) {
      tokens[written++] = tokens[i];
      continue;
    }
    found += word.occurrences;
    if (written > 0) {
      // The one before may itself be new: then this takes back what was said of it.
      Lose({tokens[written - 1], pair.first}, index, changed);
      Gain({tokens[written - 1], merged}, index, changed);
    }
    if (i + 2 < word.length) {
      Lose({pair.second, tokens[i + 2]}, index, changed);
      Gain({merged, tokens[i + 2]}, index, changed);
    }
    tokens[written++] = merged;
    ++i;
  }
  word.length = written;
  return found;
}

PairTable::Entry& PairTable::Touch(TokenPair pair, std::vector<uint32_t>* changed) {
  const uint32_t number = Number(pair);
  Entry& entry = pairs_[number];
  if (entry.changed_by != merges_) changed->push_back(number);
  entry.changed_by = merges_;
  return entry;
}

void PairTable::Lose(TokenPair pair, uint32_t word, std::vector<uint32_t>* changed) {
  Touch(pair, changed).count -= words_[word].occurrences;
}

void PairTable::Gain(TokenPair pair, uint32_t word, std::vector<uint32_t>* changed) {
  Entry& entry = Touch(pair, changed);
  entry.count += words_[word].occurrences;
  if (entry.words.empty() || entry.words.back() != word) entry.words.push_back(word);
}

}  // namespace bert::text
