// One file in, its documents out.
#ifndef BERT_DATALOADER_DOCUMENTS_DOCUMENT_READER_H_
#define BERT_DATALOADER_DOCUMENTS_DOCUMENT_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/digest.h"
#include "dataloader/documents/input_files.h"

namespace bert::documents {

// A longer document is an error: it is most likely a file whose documents are separated in another way.
inline constexpr int64_t kDocumentBytesMax = int64_t{256} << 20;

// Something that could not be made a document of.
struct Fault {
  enum class Kind {
    // One document or row is left out. Replacing its bad bytes would teach the model noise.
    kDocument,
    // The rest of the file is.
    kFile,
  };
  Kind kind = Kind::kDocument;
  // "books.txt:7: not UTF-8 at byte 3 of the line", "wiki.parquet: row 12: ..."; lines and rows count from 1.
  std::string message;

  friend bool operator==(const Fault&, const Fault&) = default;
};

// A document's text in the form that AppendParagraphs gives, empty where there is nothing in it; or a fault.
using Item = std::variant<std::string, Fault>;

// The items of a file are numbered in their order, which is the same whenever the same bytes are read: a build that was
// killed goes on behind the item it had come to. Memory: a few megabytes and one document. Not thread-safe.
class DocumentReader {
 public:
  virtual ~DocumentReader() = default;

  // nullopt at the end of the file, after a fault of kFile too. An error: the file cannot be read (errors of
  // common/files.h), or INVALID_ARGUMENT: a document over kDocumentBytesMax; nothing follows it.
  virtual absl::StatusOr<std::optional<Item>> Next() = 0;

  // Of the file as it lies on disk, so far; for files that are not read in order an estimate.
  virtual int64_t bytes_read() const = 0;

  // Size and digest of the whole file. Call it last.
  virtual absl::StatusOr<FileDigest> Finish() = 0;
};

// The reader for the file's kind. Errors: the file cannot be opened.
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenDocuments(const InputFile& file);

// INVALID_ARGUMENT that names where the document stands.
absl::Status DocumentTooLong(const std::string& where);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_DOCUMENT_READER_H_
