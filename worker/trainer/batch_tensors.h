// Rows as the model takes them.
#ifndef BERT_WORKER_TRAINER_BATCH_TENSORS_H_
#define BERT_WORKER_TRAINER_BATCH_TENSORS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "dataloader/sampling/row_batch.h"
#include "worker/model/masked_lm.h"

namespace bert::trainer {

// Finds rows inside a batch. Borrows it.
class RowReader {
 public:
  // Every row of `batch` has passed sampling::Decode.
  explicit RowReader(const sampling::RowBatch& batch);

  int32_t row_count() const { return batch_.row_count; }

  // Rows [begin, end) of the batch as a micro-batch [end - begin, width], padded with pad_id, on the CPU. No row is
  // longer than `width`.
  model::MaskedBatch Tensors(int32_t begin, int32_t end, int32_t width, int64_t pad_id) const;

  // Masked tokens in rows [begin, end).
  int64_t MaskedCount(int32_t begin, int32_t end) const { return masked_[end] - masked_[begin]; }

  // Real tokens in rows [begin, end).
  int64_t TokenCount(int32_t begin, int32_t end) const { return tokens_[end] - tokens_[begin]; }

 private:
  const sampling::RowBatch& batch_;
  // [row_count + 1]: what comes before each row.
  std::vector<int64_t> tokens_;
  std::vector<int64_t> segments_;
  std::vector<int64_t> masked_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_BATCH_TENSORS_H_
