// Which files a corpus consists of, and how each is read.
#ifndef BERT_DATALOADER_DOCUMENTS_INPUT_FILES_H_
#define BERT_DATALOADER_DOCUMENTS_INPUT_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dataloader/documents/decompression.h"

namespace bert::documents {

enum class Format { kText, kJsonLines, kParquet };

// What makes a document, and where its text is.
struct DocumentRule {
  enum class Unit {
    // Text: what stands between blank lines. JSON lines and Parquet: a row.
    kNatural,
    // Text only: the whole file.
    kFile,
    // So many rows, or lines of text; fewer at the end of a file, and of text before a blank line.
    kRows,
  };
  Unit unit = Unit::kNatural;
  // For kRows; at least 1.
  int64_t rows = 1;
  // JSON lines and Parquet: the field or column that holds the text.
  std::string field = "text";

  friend bool operator==(const DocumentRule&, const DocumentRule&) = default;
};

// What a command line says of inputs, as
//   inputs     "PATH" or "CORPUS=PATH"; a path is a file, a directory or a pattern with * ? [ ]
//   fields     "FIELD" for every corpus, or "CORPUS=FIELD"
//   documents  "RULE" or "CORPUS=RULE", a rule being auto, file or rows:N
// Inputs with the same corpus name belong together. Without a name a corpus is called as its directory, the directory
// of its pattern, or its file without the extensions.
struct InputSpec {
  std::vector<std::string> inputs = {};
  std::vector<std::string> fields = {};
  std::vector<std::string> documents = {};
};

struct InputFile {
  std::string path;
  // Below the input it was found through: the file's own name, or its path inside the directory given or before the
  // pattern's first wildcard. Does not change when the corpus moves. UTF-8.
  std::string name;
  // On disk.
  int64_t bytes = 0;
  // Nanoseconds since the epoch; tells a file that was changed from one that was not.
  int64_t modified_ns = 0;
  // Index into InputFiles::corpora.
  int corpus = 0;
  Format format = Format::kText;
  Compression compression = Compression::kNone;
  DocumentRule rule = {};
};

struct InputFiles {
  std::vector<std::string> corpora;
  std::vector<InputFile> files;
  // Those whose files were looked for.
  std::vector<std::string> directories;
};

// The files behind the inputs, in the inputs' order, those of a directory or a pattern sorted by path. A directory
// gives every *.txt, *.jsonl, *.ndjson and *.parquet below it; .gz, .zst or .xz may follow the first three. A file
// named alone, or by a pattern, with another extension is read as text. NOT_FOUND names an input that does not exist, a
// pattern that matches nothing or a directory without such files. INVALID_ARGUMENT: a rule or a name that cannot be, a
// rule for no corpus, a kind of file that is known not to be read.
absl::StatusOr<InputFiles> ListInputFiles(const InputSpec& spec);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_INPUT_FILES_H_
