// A file that may be packed, line by line: what the readers of text and of JSON lines share.
#ifndef BERT_DATALOADER_DOCUMENTS_UNPACKED_FILE_H_
#define BERT_DATALOADER_DOCUMENTS_UNPACKED_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/digest.h"
#include "dataloader/documents/byte_source.h"
#include "dataloader/documents/input_files.h"
#include "dataloader/documents/line_reader.h"

namespace bert::documents {

// Not thread-safe.
class UnpackedFile {
 public:
  // Errors of common/files.h.
  static absl::StatusOr<std::unique_ptr<UnpackedFile>> Open(const InputFile& file);

  // As LineReader::Next, without a byte order mark; errors name file and line.
  absl::StatusOr<bool> NextLine(std::string_view* line);

  // "path:line" of the line that NextLine() gave last.
  std::string Here() const;
  int64_t bytes_read() const { return packed_->bytes(); }
  absl::StatusOr<FileDigest> Finish() { return packed_->Finish(); }

 private:
  UnpackedFile(const InputFile& file, std::unique_ptr<FileSource> packed);

  const std::string path_;
  const std::unique_ptr<FileSource> packed_;
  const std::unique_ptr<ByteSource> unpacked_;  // Null where the file is not packed.
  LineReader lines_;
};

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_UNPACKED_FILE_H_
