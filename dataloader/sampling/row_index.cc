#include "dataloader/sampling/row_index.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace bert::sampling {
namespace {

constexpr int64_t kSpecialTokensPerPiece = 2;
constexpr int64_t kPieceTokensMin = 4;

// Tokens of a document's `rest` that go into a row with `free` slots; 0 closes the row. Positive for an empty row.
int64_t TokensToTake(int64_t rest, int64_t free, int64_t piece_min) {
  const int64_t room = free - kSpecialTokensPerPiece;
  if (rest <= room) return rest;
  const int64_t take = std::min(room, rest - piece_min);
  return take >= piece_min ? take : 0;
}

int64_t PieceMin(int32_t max_seq_len) {
  // Twice this must fit into a row and one token more, or a document could neither be cut nor fit.
  return std::clamp<int64_t>((max_seq_len - kSpecialTokensPerPiece + 1) / 2, 1, kPieceTokensMin);
}

}  // namespace

RowIndex::RowIndex(std::shared_ptr<const corpus::Dataset> dataset, corpus::SplitKind split, int32_t max_seq_len)
    : dataset_(std::move(dataset)), split_(dataset_->split(split)), max_seq_len_(max_seq_len) {}

absl::StatusOr<std::shared_ptr<const RowIndex>> RowIndex::Build(std::shared_ptr<const corpus::Dataset> dataset,
                                                                corpus::SplitKind split, int32_t max_seq_len) {
  if (max_seq_len < kSeqLenMin || max_seq_len > kSeqLenMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_seq_len ", max_seq_len, " is not in [", kSeqLenMin, ", ", kSeqLenMax, "]"));
  }
  std::shared_ptr<RowIndex> index(new RowIndex(std::move(dataset), split, max_seq_len));
  const corpus::SplitView& view = index->split_;
  if (view.documents() > std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError(absl::StrCat(view.documents(), " documents; at most 2^32 can be indexed"));
  }
  const int64_t piece_min = PieceMin(max_seq_len);
  int64_t free = 0;
  int64_t document = 0;
  int64_t begin = 0;
  for (const corpus::ShardReader& shard : view.shards()) {
    for (int64_t d = 0; d < shard.documents(); ++d, ++document) {
      int64_t rest = static_cast<int64_t>(shard.offsets()[d + 1] - shard.offsets()[d]);
      while (rest > 0) {
        int64_t take = TokensToTake(rest, free, piece_min);
        if (take == 0) {
          index->starts_.push_back(begin);
          index->documents_.push_back(static_cast<uint32_t>(document));
          free = max_seq_len;
          take = TokensToTake(rest, free, piece_min);
          BERT_CHECK(take > 0) << "rest " << rest << ", max_seq_len " << max_seq_len;
        }
        free -= take + kSpecialTokensPerPiece;
        begin += take;
        rest -= take;
      }
    }
  }
  return index;
}

void RowIndex::GetPieces(int64_t row, std::vector<Piece>* pieces) const {
  BERT_CHECK(row >= 0 && row < rows()) << "row " << row << " of " << rows();
  pieces->clear();
  const int64_t piece_min = PieceMin(max_seq_len_);
  const int64_t row_end = row + 1 < rows() ? starts_[row + 1] : split_.tokens();
  int64_t document = documents_[row];
  int64_t begin = starts_[row];
  int64_t free = max_seq_len_;
  while (begin < row_end) {
    const int64_t rest = split_.DocumentBegin(document + 1) - begin;
    const int64_t take = TokensToTake(rest, free, piece_min);
    pieces->push_back({begin, static_cast<int32_t>(take)});
    free -= take + kSpecialTokensPerPiece;
    begin += take;
    document += take == rest ? 1 : 0;
  }
}

}  // namespace bert::sampling
