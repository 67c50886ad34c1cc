// Masked rows as the trainer gets them, and as they travel. No proto, no gRPC, no Torch: both ends include it.
#ifndef BERT_DATALOADER_SAMPLING_ROW_BATCH_H_
#define BERT_DATALOADER_SAMPLING_ROW_BATCH_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace bert::sampling {

// Consecutive rows of one step. Rows are of different length and lie one after the other without padding.
struct RowBatch {
  int64_t step = 0;
  // Rows [row_begin, row_begin + row_count) of the step's global batch.
  int32_t row_begin = 0;
  int32_t row_count = 0;
  // All rows' tokens after masking, [CLS] and [SEP] included.
  std::vector<int32_t> token_ids = {};
  // [row_count]: segments ([CLS] tokens [SEP], each a part of another document) of each row, at least 1.
  std::vector<uint16_t> segment_counts = {};
  // [sum of segment_counts]: their lengths, [CLS] and [SEP] included; a row's length is the sum of its segments'.
  std::vector<uint16_t> segment_lengths = {};
  // [row_count]: masked positions in each row; may be 0.
  std::vector<uint16_t> masked_counts = {};
  // [sum of masked_counts]: positions within the row, ascending.
  std::vector<uint16_t> masked_positions = {};
  // [sum of masked_counts]: the original tokens there.
  std::vector<int32_t> labels = {};
  // Of sentence pairs only, else empty. A pair is one segment, [CLS] A [SEP] B [SEP].
  // [row_count]: position of B's first token; from there on segment type ids are 1, before it 0.
  std::vector<uint16_t> second_begins = {};
  // [row_count]: 1 where B follows A in its document, 0 where it is from elsewhere.
  std::vector<uint8_t> is_next = {};

  // Back to no rows; keeps the memory.
  void Clear();
  // Adds the rows of `next`, which follow on this batch's: same step, and its row_begin is where this one ends.
  void Append(const RowBatch& next);

  friend bool operator==(const RowBatch&, const RowBatch&) = default;
};

// The byte fields of StreamBatchesResponse. All integers are little-endian; tokens have WireTokenBytes(vocab_size).
struct EncodedRows {
  int64_t step = 0;
  int32_t row_begin = 0;
  int32_t row_count = 0;
  std::string token_ids;
  std::string segment_counts;
  std::string segment_lengths;
  std::string masked_counts;
  std::string masked_positions;
  std::string labels;
  std::string second_begins;
  std::string is_next;
};

// The same without owning the bytes.
struct EncodedRowsView {
  int64_t step = 0;
  int32_t row_begin = 0;
  int32_t row_count = 0;
  std::string_view token_ids;
  std::string_view segment_counts;
  std::string_view segment_lengths;
  std::string_view masked_counts;
  std::string_view masked_positions;
  std::string_view labels;
  std::string_view second_begins = {};
  std::string_view is_next = {};
};

EncodedRowsView ViewOf(const EncodedRows& rows);

// Bytes of a token id on the wire: 2 where every id of the vocabulary fits, else 4.
constexpr int WireTokenBytes(int32_t vocab_size) { return vocab_size <= 65536 ? 2 : 4; }

EncodedRows Encode(const RowBatch& batch, int32_t vocab_size);

// What a receiver knows and so can hold the sender to.
struct DecodeLimits {
  int32_t vocab_size = 0;
  int32_t max_seq_len = 0;
  // Whether the rows were asked for as sentence pairs.
  bool sentence_pairs = false;
};

// DATA_LOSS, naming step, field and what is wrong: lengths that disagree with one another, a segment without tokens, a
// row longer than max_seq_len, a token outside the vocabulary, masked positions that do not ascend within their row, a
// pair without a first or second part or with more than one segment, pairs where none were asked for or none where they
// were.
// Whether step and rows are the wanted ones is for the caller to check.
absl::StatusOr<RowBatch> Decode(const EncodedRowsView& rows, const DecodeLimits& limits);

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_ROW_BATCH_H_
