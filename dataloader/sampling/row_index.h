// How a split's documents become rows.
#ifndef BERT_DATALOADER_SAMPLING_ROW_INDEX_H_
#define BERT_DATALOADER_SAMPLING_ROW_INDEX_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "dataloader/corpus/dataset.h"

namespace bert::sampling {

inline constexpr int32_t kSeqLenMin = 3;  // [CLS], a token, [SEP]
inline constexpr int32_t kSeqLenMax = 65535;

// A part of one document that stands in a row as [CLS] tokens [SEP].
struct Piece {
  int64_t begin = 0;  // First token, counted over the split.
  int32_t length = 0;

  friend bool operator==(const Piece&, const Piece&) = default;
};

// Cuts and packs documents, in stored order, into rows of at most max_seq_len tokens. Every token of the split is in
// exactly one row. The rule, with m = 4 (less where rows are shorter than 9 tokens):
//   - What is left of a document goes into the row whole where it fits, with its [CLS] and [SEP].
//   - Otherwise it is cut to fill the row, or m tokens from its end where less than m would remain.
//   - Where that would put less than m tokens into the row, the row is closed instead.
// So no piece is shorter than m, except documents that are, and a row ends with at most 2m unused slots: under one in a
// hundred at 128 tokens unless documents are shorter than a row.
//
// Memory: 12 bytes a row. Immutable and thread-safe; holds its dataset.
class RowIndex {
 public:
  // INVALID_ARGUMENT: max_seq_len outside [kSeqLenMin, kSeqLenMax]. RESOURCE_EXHAUSTED: over 2^32 documents.
  static absl::StatusOr<std::shared_ptr<const RowIndex>> Build(std::shared_ptr<const corpus::Dataset> dataset,
                                                               corpus::SplitKind split, int32_t max_seq_len);

  int64_t rows() const { return static_cast<int64_t>(starts_.size()); }
  int32_t max_seq_len() const { return max_seq_len_; }
  const corpus::Dataset& dataset() const { return *dataset_; }
  const corpus::SplitView& split() const { return split_; }

  // The pieces of `row`, in order, at least one. Takes time in proportion to their number.
  void GetPieces(int64_t row, std::vector<Piece>* pieces) const;
  // Has the row's tokens fetched into the processor's cache, for rows that are wanted soon.
  void Prefetch(int64_t row) const { split_.Prefetch(starts_[static_cast<size_t>(row)], max_seq_len_); }

 private:
  RowIndex(std::shared_ptr<const corpus::Dataset> dataset, corpus::SplitKind split, int32_t max_seq_len);

  const std::shared_ptr<const corpus::Dataset> dataset_;
  const corpus::SplitView& split_;
  const int32_t max_seq_len_;
  // Of each row: its first token and that token's document. What follows is packed anew by the same rule.
  std::vector<int64_t> starts_;
  std::vector<uint32_t> documents_;
};

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_ROW_INDEX_H_
