// The words of a text as sequences of tokens, and how often any two tokens stand side by side in them.
#ifndef BERT_DATALOADER_TEXT_PAIR_TABLE_H_
#define BERT_DATALOADER_TEXT_PAIR_TABLE_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace bert::text {

// Two token ids side by side.
struct TokenPair {
  uint32_t first = 0;
  uint32_t second = 0;

  friend auto operator<=>(const TokenPair&, const TokenPair&) = default;
};

// Every pair has a number, given when it is first seen; which one shows nowhere outside. For each it is known in which
// words it stands, so a merge costs what it changes. Memory follows the distinct words, not the text. Not thread-safe.
class PairTable {
 public:
  // All words first, then CountPairs once.
  void AddWord(absl::Span<const uint32_t> tokens, uint64_t occurrences);
  void CountPairs();

  // Pairs ever seen; their numbers are below this.
  uint32_t pairs() const { return static_cast<uint32_t>(pairs_.size()); }
  TokenPair pair(uint32_t number) const { return pairs_[number].pair; }
  // How often the pair stands in the text now. Of three equal tokens in a row there are two pairs.
  uint64_t count(uint32_t number) const { return pairs_[number].count; }
  // How often the token stands in the text now; 0 for one that never did.
  uint64_t token_count(uint32_t token) const { return token < token_counts_.size() ? token_counts_[token] : 0; }

  // Replaces every occurrence of the pair, from the left in each word, by `merged`. `*changed` becomes the numbers of
  // the pairs whose counts are now others, each once, in no order that means anything.
  void Merge(uint32_t number, uint32_t merged, std::vector<uint32_t>* changed);

 private:
  struct Word {
    uint64_t occurrences;
    size_t begin;
    uint32_t length;
  };
  struct Entry {
    TokenPair pair;
    uint64_t count = 0;
    // The last merge that changed the count.
    uint32_t changed_by = 0;
    // Words in which the pair is or was; one may be named twice.
    std::vector<uint32_t> words;
  };

  uint32_t Number(TokenPair pair);
  // Returns how often the pair was there.
  uint64_t MergeInWord(TokenPair pair, uint32_t merged, uint32_t word, std::vector<uint32_t>* changed);
  // One occurrence of the pair in a word less, or more.
  void Lose(TokenPair pair, uint32_t word, std::vector<uint32_t>* changed);
  void Gain(TokenPair pair, uint32_t word, std::vector<uint32_t>* changed);
  Entry& Touch(TokenPair pair, std::vector<uint32_t>* changed);
  void CountToken(uint32_t token, uint64_t by);

  std::vector<uint32_t> tokens_;  // Of all words, one behind the other.
  std::vector<Word> words_;
  std::vector<Entry> pairs_;
  absl::flat_hash_map<uint64_t, uint32_t> numbers_;
  std::vector<uint64_t> token_counts_;
  uint32_t merges_ = 0;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_PAIR_TABLE_H_
