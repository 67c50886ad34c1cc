// Documents out of JSON lines: an object a line, the text in one of its fields.
#ifndef BERT_DATALOADER_DOCUMENTS_JSON_LINES_READER_H_
#define BERT_DATALOADER_DOCUMENTS_JSON_LINES_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "dataloader/documents/document_reader.h"

namespace bert::documents {

// A line that is not UTF-8, no JSON, no object, or has no string in the field of that name at its top level is a fault.
// Blank lines are nothing.
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenJsonLines(const InputFile& file);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_JSON_LINES_READER_H_
