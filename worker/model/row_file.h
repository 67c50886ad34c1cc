// Masked rows from a file, as `bert-data rows --json` prints them: one JSON object a line,
//   {"row": 0, "segments": [{"input_ids": [..], "positions": [..], "labels": [..]}, ..]}
// with `positions` counting from the segment's first token. A sentence pair is one segment with "token_type_ids", and
// its row has "is_next": true or false.
#ifndef BERT_WORKER_MODEL_ROW_FILE_H_
#define BERT_WORKER_MODEL_ROW_FILE_H_

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/masked_lm.h"

namespace bert::model {

// The next batch of at most `rows` rows, padded to the longest with `config.pad_token_id`; without rows at the end. It
// has next-sentence labels where every row has "is_next".
// `line` counts lines read so far. INVALID_ARGUMENT names path, line and what does not fit the model.
absl::StatusOr<MaskedBatch> ReadRows(std::istream& in, const std::string& path, int64_t rows, const ModelConfig& config,
                                     int64_t* line);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_ROW_FILE_H_
