#include "worker/trainer/batch_tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "common/check.h"

namespace bert::trainer {

RowReader::RowReader(const sampling::RowBatch& batch) : batch_(batch), tokens_(1), segments_(1), masked_(1) {
  int64_t segment = 0;
  for (int32_t row = 0; row < batch.row_count; ++row) {
    int64_t length = 0;
    for (int i = 0; i < batch.segment_counts[row]; ++i) length += batch.segment_lengths[segment++];
    tokens_.push_back(tokens_.back() + length);
    segments_.push_back(segment);
    masked_.push_back(masked_.back() + batch.masked_counts[row]);
  }
}

model::MaskedBatch RowReader::Tensors(int32_t begin, int32_t end, int32_t width, int64_t pad_id) const {
  BERT_CHECK(0 <= begin && begin <= end && end <= batch_.row_count) << begin << " to " << end;
  const int64_t rows = end - begin;
  const int64_t masked = masked_[end] - masked_[begin];
  model::MaskedBatch out;
  out.input_ids = at::full({rows, width}, pad_id, at::kLong);
  out.position_ids = at::zeros({rows, width}, at::kLong);
  out.segments = at::full({rows, width}, -1, at::kInt);
  out.masked_positions = at::empty({masked}, at::kLong);
  out.labels = at::empty({masked}, at::kLong);
  const bool pairs = !batch_.second_begins.empty();
  if (pairs) {
    out.token_type_ids = at::zeros({rows, width}, at::kLong);
    out.next_sentence_labels = at::empty({rows}, at::kLong);
  }
  int64_t* ids = out.input_ids.mutable_data_ptr<int64_t>();
  int64_t* positions = out.position_ids.mutable_data_ptr<int64_t>();
  int32_t* segments = out.segments.mutable_data_ptr<int32_t>();
  int64_t* masked_positions = out.masked_positions.mutable_data_ptr<int64_t>();
  int64_t* labels = out.labels.mutable_data_ptr<int64_t>();
  for (int32_t row = begin; row < end; ++row) {
    const int64_t length = tokens_[row + 1] - tokens_[row];
    BERT_CHECK(length <= width) << "a row of " << length << " tokens";
    const int64_t start = static_cast<int64_t>(row - begin) * width;
    for (int64_t i = 0; i < length; ++i) ids[start + i] = batch_.token_ids[tokens_[row] + i];
    int64_t at = start;
    for (int64_t segment = segments_[row]; segment < segments_[row + 1]; ++segment) {
      for (int64_t i = 0; i < batch_.segment_lengths[segment]; ++i, ++at) {
        positions[at] = i;
        segments[at] = static_cast<int32_t>(segment - segments_[row]);
      }
    }
    if (pairs) {
      int64_t* types = out.token_type_ids.mutable_data_ptr<int64_t>() + start;
      std::fill(types + batch_.second_begins[row], types + length, 1);
      out.next_sentence_labels.mutable_data_ptr<int64_t>()[row - begin] = batch_.is_next[row] != 0 ? 0 : 1;
    }
    for (int64_t i = masked_[row]; i < masked_[row + 1]; ++i) {
      *masked_positions++ = start + batch_.masked_positions[i];
      *labels++ = batch_.labels[i];
    }
  }
  return out;
}

}  // namespace bert::trainer
