// Masked rows of a dataset, written down: what a model is given and what it has to guess.
#ifndef BERT_DATALOADER_ROW_LISTING_H_
#define BERT_DATALOADER_ROW_LISTING_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "dataloader/data_commands.h"
#include "dataloader/sampling/masking.h"
#include "dataloader/sampling/row_format.h"

namespace bert::data {

struct RowsFlags {
  std::string directory = {};
  // "train" or "validation".
  std::string split = "validation";
  int32_t max_seq_len = 128;
  sampling::RowFormat format = sampling::RowFormat::kPacked;
  uint64_t seed = 1;
  // Rows from the start of the split's order: validation's stored order, train's first epoch.
  int64_t count = 3;
  sampling::Masking masking = {};
  // One object a line: {"row", "segments": [{"input_ids", "positions", "labels"}]}, positions within the segment; of a
  // pair also "token_type_ids" and "is_next". Otherwise the pieces, with what stood at each masked place: "the
  // [MASK]=cat sat".
  bool json = false;
  // Instead of rows, one line about all of the split's: how many there are and how full.
  bool summary = false;
};

// The rows that a job with the same seed, rows, max_seq_len and masking gets. Fewer where the validation split ends.
// INVALID_ARGUMENT names the flag; errors of the dataset as corpus::Dataset::Open's.
absl::Status Rows(const RowsFlags& flags, const Terminal& terminal);

}  // namespace bert::data

#endif  // BERT_DATALOADER_ROW_LISTING_H_
