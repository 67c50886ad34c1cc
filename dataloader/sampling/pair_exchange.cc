#include "dataloader/sampling/pair_exchange.h"

#include "dataloader/sampling/permutation.h"
#include "dataloader/sampling/philox.h"

namespace bert::sampling {
namespace {

// Streams of PhiloxUse::kOrder: 0 is the order of the rows; each group has one for its twos and one for its coins.
// Rows are at most 65,535 tokens and cut within 8 tokens of their middle, so there are under 2^20 groups, and the
// coins' numbers stay below 2^62.
constexpr uint64_t kTwosStreams = uint64_t{1} << 60;
constexpr uint64_t kCoinStreams = uint64_t{1} << 61;
constexpr int kCoinBits = 40;

}  // namespace

int64_t SecondPartOf(const RowIndex& rows, uint64_t seed, uint64_t epoch, int64_t row) {
  const int64_t number = rows.GroupOf(row);
  const PairGroup group = rows.Group(number);
  // Not so in an index that was made; it may have been lost since (RowIndex::CheckNotLost).
  if (row < group.first_row || row - group.first_row >= group.rows) return row;
  const Permutation permutation(group.rows, seed, epoch, kTwosStreams + static_cast<uint64_t>(number));
  const int64_t place = permutation.Inverse(row - group.first_row);
  const int64_t other_place = place ^ 1;
  if (other_place >= group.rows) return row;
  const int64_t other = group.first_row + permutation(other_place);
  if (rows.DocumentOf(row) == rows.DocumentOf(other)) return row;
  const uint64_t coin = kCoinStreams + (static_cast<uint64_t>(number) << kCoinBits) + static_cast<uint64_t>(place / 2);
  const bool exchange = PhiloxStream(seed, epoch, coin, PhiloxUse::kOrder).Next() % 2 != 0;
  return exchange ? other : row;
}

}  // namespace bert::sampling
