// Documents out of text files.
//
// A text file holds documents separated by blank lines, one paragraph a line. A blank line is one of nothing but ASCII
// white space.
#ifndef BERT_DATALOADER_CORPUS_TEXT_READER_H_
#define BERT_DATALOADER_CORPUS_TEXT_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataloader/corpus/manifest.h"

namespace bert::corpus {

struct TextFile {
  std::string path;
  // Below the input it was found through: the file's own name, or its path inside the directory given. Does not change
  // when the corpus moves.
  std::string name;
  int64_t bytes = 0;
};

// The files behind `inputs`, in their order: a file is taken whatever its name, a directory gives every *.txt below it,
// sorted by path. NOT_FOUND names an input that does not exist or a directory without text files.
absl::StatusOr<std::vector<TextFile>> ListTextFiles(const std::vector<std::string>& inputs);

struct TextReaderOptions {
  // A document that is not UTF-8 is left out as a whole, reported and counted: replacing the bad bytes would teach the
  // model noise. Strict: it is an error instead.
  bool strict = false;
  // Takes "path:line: what is wrong". May be empty.
  std::function<void(const std::string&)> report = {};
};

// Reads the documents of several files one after the other. Memory: one document. Not thread-safe.
class TextReader {
 public:
  // A longer document is an error: it is most likely a file without blank lines.
  static constexpr int64_t kDocumentBytesMax = int64_t{256} << 20;

  TextReader(std::vector<TextFile> files, TextReaderOptions options);
  ~TextReader();
  TextReader(const TextReader&) = delete;
  TextReader& operator=(const TextReader&) = delete;

  // The next document: its paragraphs joined by '\n', without white space at their ends, a byte order mark or carriage
  // returns, so that the same text saved differently is the same document. nullopt at the end of the last file.
  // INVALID_ARGUMENT, with file and line: not UTF-8 (strict only), or a document over kDocumentBytesMax.
  // After an error the reader is at its end.
  absl::StatusOr<std::optional<std::string>> Next();

  // Of what has been read so far.
  int64_t bytes_read() const { return bytes_read_; }
  int64_t invalid_documents() const { return invalid_documents_; }
  // Name, size and digest of each file read to its end.
  const std::vector<FileEntry>& sources() const { return sources_; }

 private:
  class LineReader;

  // The next document of the file that is open, invalid ones included as an empty string.
  absl::StatusOr<std::optional<std::string>> NextInFile();
  absl::StatusOr<std::optional<std::string>> Fail(absl::Status status);

  const std::vector<TextFile> files_;
  const TextReaderOptions options_;
  size_t next_file_ = 0;
  std::unique_ptr<LineReader> open_;
  int64_t bytes_read_ = 0;
  int64_t invalid_documents_ = 0;
  std::vector<FileEntry> sources_;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_TEXT_READER_H_
