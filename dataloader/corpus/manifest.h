// A dataset's manifest.json: what files belong to it, how large they are and what they contain.
#ifndef BERT_DATALOADER_CORPUS_MANIFEST_H_
#define BERT_DATALOADER_CORPUS_MANIFEST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dataloader/corpus/shard.h"

namespace bert::corpus {

inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kTokenizerFolder[] = "tokenizer";
inline constexpr char kShardFolder[] = "shards";

struct FileEntry {
  std::string name;
  int64_t bytes = 0;
  std::string digest;

  friend bool operator==(const FileEntry&, const FileEntry&) = default;
};

struct TokenizerEntry {
  // As text::Tokenizer::type().
  std::string type = "wordpiece";
  int32_t vocab_size = 0;
  bool lowercase = true;
  // In tokenizer/; vocab.txt or tokenizer.json among them.
  std::vector<FileEntry> files;

  friend bool operator==(const TokenizerEntry&, const TokenizerEntry&) = default;
};

// Sums over the shards; `words` as counted by the builder before tokenizing.
struct SplitEntry {
  int64_t documents = 0;
  int64_t words = 0;
  int64_t tokens = 0;
  std::vector<ShardInfo> shards;

  friend bool operator==(const SplitEntry&, const SplitEntry&) = default;
};

// What one corpus gave: inputs that belong together, as "wikipedia".
struct CorpusEntry {
  std::string name;
  int64_t files = 0;
  // On disk, packed or not.
  int64_t bytes = 0;
  // Cut off, damaged or without the column that was asked for: read up to there.
  int64_t damaged_files = 0;
  // Stored, in both splits.
  int64_t documents = 0;
  int64_t text_bytes = 0;
  int64_t words = 0;
  int64_t tokens = 0;
  // [UNK] among the tokens.
  int64_t unknown_tokens = 0;
  // Left out: the same text as an earlier document of any corpus; not UTF-8 or a row without text; nothing, or nothing
  // but characters that normalisation removes.
  int64_t duplicate_documents = 0;
  int64_t invalid_documents = 0;
  int64_t empty_documents = 0;

  friend bool operator==(const CorpusEntry&, const CorpusEntry&) = default;
};

struct Manifest {
  // xxh128 of the canonical JSON (keys sorted, no white space) without this field; it covers every file's digest and is
  // the dataset's identity. Set by FormatManifest, WriteManifest and the readers.
  std::string digest;
  TokenizerEntry tokenizer;
  int token_bytes = 2;
  SplitEntry train;
  SplitEntry validation;
  // Entropy of the validation split's unigrams under the training split's counts, in nats.
  double unigram_cross_entropy = 0;
  // What the dataset was built from. Datasets of before there were corpora have none.
  std::vector<CorpusEntry> corpora;
  std::vector<FileEntry> sources;

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// The manifest as indented JSON with its digest computed (any digest in the argument is ignored).
std::string FormatManifest(const Manifest& manifest);

// DATA_LOSS, naming `path` and the field: not JSON, a missing or mistyped field, an unknown version, sums that disagree
// with the shards, a name that leaves the dataset's directory, or a digest that is not the content's.
absl::StatusOr<Manifest> ParseManifest(std::string_view json, absl::string_view path);

// DATA_LOSS, naming `path`: the bytes are not those that FormatManifest gave. A digest over fields does not see that
// white space or the last digit of a fraction was changed.
absl::Status CheckManifestBytes(std::string_view json, absl::string_view path);

// <directory>/manifest.json. NOT_FOUND: there is none, so this is no finished dataset.
absl::StatusOr<Manifest> ReadManifest(const std::string& directory);

// Writes <directory>/manifest.json durably and sets manifest->digest. Write it last: it makes the dataset exist.
absl::Status WriteManifest(const std::string& directory, Manifest* manifest);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_MANIFEST_H_
