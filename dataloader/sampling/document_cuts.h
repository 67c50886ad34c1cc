// Where documents are cut. The rules are fixed: a change makes other rows of the same dataset, so it needs a new
// RowIndex version.
#ifndef BERT_DATALOADER_SAMPLING_DOCUMENT_CUTS_H_
#define BERT_DATALOADER_SAMPLING_DOCUMENT_CUTS_H_

#include <cstdint>

namespace bert::sampling {

// The rule of packed rows, with m = 4 (less where rows are shorter than 9 tokens):
//   - What is left of a document goes into the row whole where it fits, with its [CLS] and [SEP].
//   - Otherwise it is cut to fill the row, or m tokens from its end where less than m would remain.
//   - Where that would put less than m tokens into the row, the row is closed instead.
// So no piece is shorter than m, except documents that are, and a row ends with at most 2m unused slots.
class PackingRule {
 public:
  explicit PackingRule(int32_t max_seq_len);

  // Tokens of a document's `rest` that go into a row with `free` slots; 0 closes the row. Positive for an empty row.
  int64_t TokensToTake(int64_t rest, int64_t free) const;

 private:
  int64_t piece_min_;
};

// The rule of sentence pairs. A document is cut into chunks that fill a row, max_seq_len - 3 tokens; where less than 8
// would remain for the last one, the one before is shorter. Each chunk is cut in two at the last word's begin within 8
// tokens before its middle, or in the middle.
class PairRule {
 public:
  // max_seq_len >= kPairSeqLenMin.
  explicit PairRule(int32_t max_seq_len);

  // Tokens of the next chunk of `rest`; `rest` is at least kPairTokensMin, and so is what is left, or 0.
  int64_t ChunkLength(int64_t rest) const;
  // Tokens of the first part of a chunk of `length` tokens. is_continuation(i) says whether token i of the chunk
  // continues a word; i > 0.
  template <typename IsContinuation>
  static int64_t FirstLength(int64_t length, const IsContinuation& is_continuation) {
    const int64_t middle = (length + 1) / 2;
    for (int64_t i = middle; i > 0 && i > middle - kWordStartSearch; --i) {
      if (!is_continuation(i)) return i;
    }
    return middle;
  }

 private:
  static constexpr int64_t kWordStartSearch = 8;
  int64_t capacity_;
  int64_t chunk_min_;
};

inline constexpr int32_t kPairSeqLenMin = 8;
// Shorter documents give no pair.
inline constexpr int64_t kPairTokensMin = 2;

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_DOCUMENT_CUTS_H_
