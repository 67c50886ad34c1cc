#include "dataloader/documents/row_reader.h"

#include <utility>

#include "common/status_macros.h"
#include "dataloader/documents/paragraphs.h"

namespace bert::documents {

RowReader::RowReader(const DocumentRule& rule)
    : rows_per_document_(rule.unit == DocumentRule::Unit::kRows ? rule.rows : 1) {}

absl::StatusOr<std::optional<Item>> RowReader::Next() {
  while (rows_ < rows_per_document_) {
    ASSIGN_OR_RETURN(std::optional<Row> row, NextRow());
    if (!row) {
      if (rows_ == 0) return std::nullopt;
      break;
    }
    if (Fault* fault = std::get_if<Fault>(&*row)) return std::move(*fault);
    const std::string_view text = std::get<std::string_view>(*row);
    if (static_cast<int64_t>(document_.size() + text.size()) > kDocumentBytesMax) return DocumentTooLong(Here());
    AppendParagraphs(text, &document_);
    ++rows_;
  }
  rows_ = 0;
  return std::exchange(document_, {});
}

}  // namespace bert::documents
