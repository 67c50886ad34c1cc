// Documents out of a text file.
//
// One paragraph a line, a blank line between documents; a blank line is one of nothing but ASCII white space.
#ifndef BERT_DATALOADER_DOCUMENTS_TEXT_READER_H_
#define BERT_DATALOADER_DOCUMENTS_TEXT_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "dataloader/documents/document_reader.h"

namespace bert::documents {

// A document with a line that is not UTF-8, and one in which a packed file is cut off, are faults as a whole.
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenText(const InputFile& file);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_TEXT_READER_H_
