// What a build remembers, so that one that was killed goes on where it was.
#ifndef BERT_DATALOADER_CORPUS_BUILD_JOURNAL_H_
#define BERT_DATALOADER_CORPUS_BUILD_JOURNAL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dataloader/corpus/append_file.h"
#include "dataloader/corpus/digest_set.h"
#include "dataloader/corpus/manifest.h"
#include "dataloader/corpus/split_writer.h"
#include "dataloader/documents/document_stream.h"

namespace bert::corpus {

// What a build's result depends on, as digests. Another build must not go on with it.
struct BuildKey {
  // Program, shares, sizes.
  std::string options;
  std::string tokenizer;
  // Names, sizes, times of change and rules of all input files.
  std::string inputs;
};

// Between two batches of documents.
struct BuildState {
  documents::Position position;
  // Of the input files, as they lie on disk.
  int64_t bytes_read = 0;
  std::vector<FileEntry> sources;
  std::vector<CorpusEntry> corpora;
  SplitState train;
  SplitState validation;
  // Set once all is written and nothing but the rename is left.
  std::string manifest_digest;

  friend bool operator==(const BuildState&, const BuildState&) = default;
};

// A directory beside the dataset's with two files: build.json, which is replaced as a whole, and digests.bin, to which
// every document's digest is appended (16 bytes each). An entry says how much of digests.bin and of each unfinished
// shard belongs to it; what a killed build wrote behind that is cut off. Not thread-safe.
class BuildJournal {
 public:
  // What was written last, where it is there, whole, and of a build with that key.
  struct Remembered {
    std::optional<BuildState> state;
    std::vector<DocumentDigest> digests;
    // Why there is no state although there was a journal; empty where there was none.
    std::string refusal;
  };
  static absl::StatusOr<Remembered> Read(const std::string& directory, const BuildKey& key);

  // Goes on with `digests` digests that Read() gave; with 0 it starts an empty journal.
  static absl::StatusOr<std::unique_ptr<BuildJournal>> Open(const std::string& directory, BuildKey key,
                                                            int64_t digests);

  // Of documents behind those of the last Write().
  absl::Status AddDigests(absl::Span<const DocumentDigest> digests);
  // Writes an entry durably. All that it names must be on the disk.
  absl::Status Write(const BuildState& state);
  // Whether an entry is there, by this object or by one before it.
  bool has_entry() const { return has_entry_; }

 private:
  BuildJournal(std::string directory, BuildKey key);

  const std::string directory_;
  const BuildKey key_;
  std::unique_ptr<AppendFile> digest_file_;
  bool has_entry_ = false;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_BUILD_JOURNAL_H_
