// How a split's documents become rows.
#ifndef BERT_DATALOADER_SAMPLING_ROW_INDEX_H_
#define BERT_DATALOADER_SAMPLING_ROW_INDEX_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/mapped_file.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/sampling/document_cuts.h"
#include "dataloader/sampling/row_format.h"

namespace bert::sampling {

inline constexpr int32_t kSeqLenMin = 3;  // [CLS], a token, [SEP]
inline constexpr int32_t kSeqLenMax = 65535;

// A part of one document.
struct Piece {
  int64_t begin = 0;  // First token, counted over the split.
  int32_t length = 0;

  friend bool operator==(const Piece&, const Piece&) = default;
};

// Rows of sentence pairs that have parts of the same lengths, so that they can exchange their second parts.
struct PairGroup {
  int64_t first_row = 0;
  int64_t rows = 0;
  int32_t first_length = 0;
  int32_t second_length = 0;
};

// The rows of one split, of at most max_seq_len tokens, in one format (document_cuts.h has the rules):
//   packed         Documents, in stored order, cut and packed. Every token of the split is in exactly one row; at 128
//                  tokens under one slot in a hundred is empty, unless documents are shorter than a row.
//   truncate_pad   Row r is the begin of document r.
//   sentence_pair  Every token is in exactly one row, but for documents of one token. Rows are numbered by falling
//                  length, in stored order within equal lengths of both parts.
//
// The index is an image of 12 bytes a row, built in memory or mapped from a file that was written with it; integers are
// little-endian:
//
//   byte 0   char[8]  "BERTROWS"
//        8   u32      version
//       12   u32      format
//       16   u32      split: 0 train, 1 validation
//       20   u32      max_seq_len
//       24   u64      rows
//       32   u64      groups (sentence_pair only, else 0)
//       40   char[48] the dataset's digest, zero-filled
//       88   u64      zero
//       96   u64      first token of each row
//        …   u32      document of that token, of each row; zero to 8 bytes
//        …   u64, u32, u32  first row, first length, second length of each group
//        …   u64      XXH3 of all before
//
// Immutable and thread-safe; holds its dataset.
class RowIndex {
 public:
  // Takes time proportional to documents and rows; truncate_pad none. INVALID_ARGUMENT: max_seq_len outside
  // [kSeqLenMin, kSeqLenMax], or below kPairSeqLenMin for pairs. RESOURCE_EXHAUSTED: over 2^32 documents.
  static absl::StatusOr<std::shared_ptr<const RowIndex>> Build(std::shared_ptr<const corpus::Dataset> dataset,
                                                               corpus::SplitKind split, int32_t max_seq_len,
                                                               RowFormat format = RowFormat::kPacked);

  // Maps what image() of an equal index was written to. Reads it once, to check it. NOT_FOUND: no such file.
  // DATA_LOSS: it is damaged, or the index of something else. INVALID_ARGUMENT as Build.
  static absl::StatusOr<std::shared_ptr<const RowIndex>> Load(std::shared_ptr<const corpus::Dataset> dataset,
                                                              corpus::SplitKind split, int32_t max_seq_len,
                                                              RowFormat format, const std::string& path);

  // A name that no other index has, whatever the dataset, the split, the length, the format or the version.
  static std::string FileName(const corpus::Dataset& dataset, corpus::SplitKind split, int32_t max_seq_len,
                              RowFormat format);

  int64_t rows() const { return rows_; }
  int32_t max_seq_len() const { return max_seq_len_; }
  RowFormat format() const { return format_; }
  const corpus::Dataset& dataset() const { return *dataset_; }
  const corpus::SplitView& split() const { return split_; }
  // Empty for truncate_pad, which needs none.
  std::string_view image() const { return mapped_.has_value() ? mapped_->bytes() : built_; }

  // The pieces of `row`, in order, at least one; of a sentence pair exactly two, the second behind the first in the
  // same document. Each lies in one shard, and with their special tokens they fit max_seq_len. Takes time in proportion
  // to their number. DATA_LOSS names the shard or the dataset, which has changed since it was opened: what it says of
  // the row is not possible. UNAVAILABLE as CheckNotLost.
  absl::Status GetPieces(int64_t row, std::vector<Piece>* pieces) const;
  // Whether a part of the file that holds the index has gone since it was opened (MappedFile::lost).
  bool lost() const { return mapped_.has_value() && mapped_->lost(); }
  // UNAVAILABLE: the index is lost; another can be made. DATA_LOSS names the shard that holds some of these pieces and
  // is lost.
  absl::Status CheckNotLost(const std::vector<Piece>& pieces) const;
  // The document that the row begins in.
  int64_t DocumentOf(int64_t row) const;
  // Sentence pairs only.
  int64_t groups() const { return static_cast<int64_t>(groups_.size()); }
  PairGroup Group(int64_t group) const;
  int64_t GroupOf(int64_t row) const;
  // Has the row's tokens fetched into the processor's cache, for rows that are wanted soon.
  void Prefetch(int64_t row) const;

 private:
  struct Header;
  // As in the image.
  struct StoredGroup {
    uint64_t first_row;
    uint32_t first_length;
    uint32_t second_length;
  };

  RowIndex(std::shared_ptr<const corpus::Dataset> dataset, corpus::SplitKind split, int32_t max_seq_len,
           RowFormat format);
  static absl::StatusOr<std::shared_ptr<RowIndex>> Create(std::shared_ptr<const corpus::Dataset> dataset,
                                                          corpus::SplitKind split, int32_t max_seq_len,
                                                          RowFormat format);
  Header HeaderOf(int64_t rows, int64_t groups) const;
  void BuildPacked();
  void BuildPairs();
  // Sizes built_ for the header and points the spans into it, so that the rows can be filled in.
  void Allocate(const Header& header);
  void Seal();
  void SetSpans(std::string_view image, const Header& header);
  absl::Status CheckImage(const std::string& path);
  // The pieces as offsets and index have them, whatever they are.
  void ReadPieces(int64_t row, std::vector<Piece>* pieces) const;
  bool Possible(const std::vector<Piece>& pieces) const;

  const std::shared_ptr<const corpus::Dataset> dataset_;
  const corpus::SplitKind split_kind_;
  const corpus::SplitView& split_;
  const int32_t max_seq_len_;
  const RowFormat format_;
  const PackingRule packing_;
  int64_t rows_ = 0;
  std::string built_;
  std::optional<MappedFile> mapped_;
  std::string mapped_path_;
  // Of each row: its first token and that token's document. What follows is packed anew by the same rule.
  absl::Span<const uint64_t> starts_;
  absl::Span<const uint32_t> documents_;
  absl::Span<const StoredGroup> groups_;
};

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_ROW_INDEX_H_
