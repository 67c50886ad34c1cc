// Lines out of bytes.
#ifndef BERT_DATALOADER_DOCUMENTS_LINE_READER_H_
#define BERT_DATALOADER_DOCUMENTS_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/documents/byte_source.h"

namespace bert::documents {

// Memory: a megabyte, or the longest line. Not thread-safe.
class LineReader {
 public:
  // A longer line is an error: it is most likely no text.
  static constexpr size_t kLineBytesMax = size_t{256} << 20;
  // Bytes behind a line that may be read (they mean nothing); parsers that look ahead in whole registers want them.
  static constexpr size_t kPaddingBytes = 64;

  // `source` must outlive the reader.
  explicit LineReader(ByteSource* source);

  // False at the end. The line is without its '\n', and lives until the next call. Errors of `source`, after the last
  // line that was whole; INVALID_ARGUMENT: a line over kLineBytesMax.
  absl::StatusOr<bool> Next(std::string_view* line);

  // Of the line that Next() gave last, from 1.
  int64_t line_number() const { return line_number_; }

 private:
  // Makes room behind end_ and reads into it; false at the end.
  absl::StatusOr<bool> Fill();

  ByteSource* const source_;
  std::string buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool at_end_ = false;
  int64_t line_number_ = 0;
};

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_LINE_READER_H_
