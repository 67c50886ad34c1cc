// A batch as a pure function of (dataset, split, seed, step, rows).
#ifndef BERT_DATALOADER_SAMPLING_BATCH_SAMPLER_H_
#define BERT_DATALOADER_SAMPLING_BATCH_SAMPLER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/sampling/masking.h"
#include "dataloader/sampling/permutation.h"
#include "dataloader/sampling/row_batch.h"
#include "dataloader/sampling/row_index.h"

namespace bert::sampling {

// Global row g of step s is number s * global_batch_size + g in the order of the split:
//   train       the epochs one after the other, without end, each its own permutation of all rows;
//   validation  the stored order, once; what lies past its end does not exist.
struct BatchOrder {
  corpus::SplitKind split = corpus::SplitKind::kTrain;
  uint64_t seed = 0;
  int32_t global_batch_size = 1;
};

// Nothing is remembered between calls but scratch memory: FillRows gives the same rows whatever was asked before, in
// which ranges, and by which process. Not thread-safe; one for each stream.
class BatchSampler {
 public:
  // INVALID_ARGUMENT: masking or global_batch_size. FAILED_PRECONDITION: the split is empty, so there is nothing to
  // train on.
  static absl::StatusOr<std::unique_ptr<BatchSampler>> Create(std::shared_ptr<const RowIndex> rows,
                                                              const BatchOrder& order, const Masking& masking);

  // INVALID_ARGUMENT: not 0 <= row_begin <= row_end <= global_batch_size, or a step below 0 or past the 2^62nd row or
  // the 2^32nd epoch.
  absl::Status CheckRange(int64_t step, int32_t row_begin, int32_t row_end) const;

  // The end of those of step's rows [0, row_end) that exist: row_end, but less (down to 0) at validation's end.
  int32_t ExistingEnd(int64_t step, int32_t row_end) const;

  // Replaces `batch` by rows [row_begin, row_end) of step's global batch, of validation those that exist. The range has
  // passed CheckRange. DATA_LOSS: a token outside the vocabulary, so the shard, which is named, has been damaged since
  // it was opened; what is in `batch` is of no use.
  absl::Status FillRows(int64_t step, int32_t row_begin, int32_t row_end, RowBatch* batch);

 private:
  BatchSampler(std::shared_ptr<const RowIndex> rows, const BatchOrder& order, const Masking& masking);
  // A row as it comes in some epoch; what masks depend on.
  struct RowInEpoch {
    uint64_t epoch = 0;
    int64_t row = 0;
  };
  RowInEpoch Locate(int64_t number);
  absl::Status AppendRow(const RowInEpoch& row, RowBatch* batch);
  // Append the row's tokens and set texts_; the pieces are in pieces_.
  void AppendSegments(RowBatch* batch);
  absl::Status AppendPair(const RowInEpoch& row, RowBatch* batch);

  const std::shared_ptr<const RowIndex> rows_;
  const BatchOrder order_;
  Masker masker_;
  // The permutation of `epoch_`, train only.
  uint64_t epoch_ = 0;
  std::optional<Permutation> permutation_;
  std::vector<RowInEpoch> located_;
  std::vector<Piece> pieces_;
  std::vector<TextSpan> texts_;
};

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_BATCH_SAMPLER_H_
