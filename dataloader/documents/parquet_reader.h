// Documents out of a Parquet file: one of its columns of strings. The public Wikipedia has columns id, url, title and
// text, an article a row; the public BookCorpus one column text, a sentence a row.
#ifndef BERT_DATALOADER_DOCUMENTS_PARQUET_READER_H_
#define BERT_DATALOADER_DOCUMENTS_PARQUET_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "dataloader/documents/document_reader.h"

namespace bert::documents {

// A file that is no Parquet, is cut off, is damaged where it is read, or has no such column of strings is a fault of
// kFile; a row without text or not UTF-8 one of kDocument. Only that column is read, page by page. UNIMPLEMENTED: this
// program was built without Parquet (BERT_PARQUET=OFF).
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquet(const InputFile& file);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_PARQUET_READER_H_
