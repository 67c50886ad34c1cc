#include "dataloader/documents/document_reader.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/documents/json_lines_reader.h"
#include "dataloader/documents/parquet_reader.h"
#include "dataloader/documents/text_reader.h"

namespace bert::documents {

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenDocuments(const InputFile& file) {
  switch (file.format) {
    case Format::kText:
      return OpenText(file);
    case Format::kJsonLines:
      return OpenJsonLines(file);
    case Format::kParquet:
      return OpenParquet(file);
  }
  return absl::InternalError(absl::StrCat(file.path, ": no reader"));
}

absl::Status DocumentTooLong(const std::string& where) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": this document has more than ", kDocumentBytesMax >> 20,
                   " MiB; separate documents by blank lines, or see --documents for other ways to cut them"));
}

}  // namespace bert::documents
