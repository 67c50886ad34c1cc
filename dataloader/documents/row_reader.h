// Documents out of rows: one row each, or several joined.
#ifndef BERT_DATALOADER_DOCUMENTS_ROW_READER_H_
#define BERT_DATALOADER_DOCUMENTS_ROW_READER_H_

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "dataloader/documents/document_reader.h"

namespace bert::documents {

// The public BookCorpus has a sentence a row and no mark between books: with DocumentRule::Unit::kRows consecutive rows
// become one document, a row a paragraph. A row at fault is left out of its document.
class RowReader : public DocumentReader {
 public:
  absl::StatusOr<std::optional<Item>> Next() final;

 protected:
  explicit RowReader(const DocumentRule& rule);

  using Row = std::variant<std::string_view, Fault>;
  // The next row's text, which is UTF-8 and lives until the next call; a fault; or nullopt at the end of the file, also
  // after a fault of kFile.
  virtual absl::StatusOr<std::optional<Row>> NextRow() = 0;
  // Where the row that NextRow() gave last stands.
  virtual std::string Here() const = 0;

 private:
  const int64_t rows_per_document_;
  // The document in the making.
  std::string document_;
  int64_t rows_ = 0;
};

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_ROW_READER_H_
