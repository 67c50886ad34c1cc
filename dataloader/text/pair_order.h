// Which pair a vocabulary trainer merges next.
#ifndef BERT_DATALOADER_TEXT_PAIR_ORDER_H_
#define BERT_DATALOADER_TEXT_PAIR_ORDER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "dataloader/text/pair_table.h"

namespace bert::text {

// Picks pairs of a table that only the caller changes. Between equals the pair whose tokens are older (by id, the left
// one first) wins, so the order is total. The table outlives it. Not thread-safe.
class PairOrder {
 public:
  virtual ~PairOrder() = default;

  // The number of the best pair that occurs at least `min_frequency` times; nullopt where there is none.
  virtual std::optional<uint32_t> Best() = 0;
  // To be called after each merge of `pair` into the token `merged`, with what PairTable::Merge gave.
  virtual void Merged(TokenPair pair, uint32_t merged, absl::Span<const uint32_t> changed) = 0;
};

// The most frequent pair first.
std::unique_ptr<PairOrder> OrderByFrequency(const PairTable& table, uint64_t min_frequency);

// The pair first whose count is highest for how often its tokens occur: count(pair) / (count(first) * count(second)),
// computed as a double.
std::unique_ptr<PairOrder> OrderByScore(const PairTable& table, uint64_t min_frequency);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_PAIR_ORDER_H_
