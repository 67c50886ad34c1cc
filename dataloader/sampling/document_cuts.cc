#include "dataloader/sampling/document_cuts.h"

#include <algorithm>

#include "common/check.h"

namespace bert::sampling {
namespace {

constexpr int64_t kSpecialTokensPerPiece = 2;
constexpr int64_t kPieceTokensMin = 4;
constexpr int64_t kSpecialTokensPerPair = 3;
constexpr int64_t kChunkTokensMin = 8;

}  // namespace

// Twice the least piece must fit into a row and one token more, or a document could neither be cut nor fit.
PackingRule::PackingRule(int32_t max_seq_len)
    : piece_min_(std::clamp<int64_t>((max_seq_len - kSpecialTokensPerPiece + 1) / 2, 1, kPieceTokensMin)) {}

int64_t PackingRule::TokensToTake(int64_t rest, int64_t free) const {
  const int64_t room = free - kSpecialTokensPerPiece;
  if (rest <= room) return rest;
  const int64_t take = std::min(room, rest - piece_min_);
  return take >= piece_min_ ? take : 0;
}

PairRule::PairRule(int32_t max_seq_len)
    : capacity_(max_seq_len - kSpecialTokensPerPair), chunk_min_(std::min(capacity_ / 2, kChunkTokensMin)) {
  BERT_CHECK(max_seq_len >= kPairSeqLenMin) << max_seq_len;
}

int64_t PairRule::ChunkLength(int64_t rest) const {
  if (rest <= capacity_) return rest;
  return std::min(capacity_, rest - chunk_min_);
}

}  // namespace bert::sampling
