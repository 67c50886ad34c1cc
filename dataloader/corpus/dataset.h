// A dataset directory, opened and checked.
#ifndef BERT_DATALOADER_CORPUS_DATASET_H_
#define BERT_DATALOADER_CORPUS_DATASET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dataloader/corpus/manifest.h"
#include "dataloader/corpus/shard.h"
#include "dataloader/text/tokenizer.h"

namespace bert::corpus {

// What rows and masks need to know of a vocabulary.
struct VocabularyFacts {
  int32_t vocab_size = 0;
  int32_t pad_id = -1;
  int32_t unk_id = -1;
  int32_t cls_id = -1;
  int32_t sep_id = -1;
  int32_t mask_id = -1;
  // One per id; 1 where the piece continues a word ("##ing"), unless the piece before it ends one.
  std::vector<uint8_t> is_continuation;
  // One per id; 1 where the next piece begins a word ("ing</w>"). Empty where no piece says so, as in WordPiece.
  std::vector<uint8_t> ends_word;
};

// From the content of a vocab.txt (one piece a line, the line's number is the id). INVALID_ARGUMENT, naming `path`:
// one of [PAD] [UNK] [CLS] [SEP] [MASK] is missing, there is nothing else, or a line is empty or appears twice.
absl::StatusOr<VocabularyFacts> ParseVocabulary(absl::string_view content, absl::string_view path);

VocabularyFacts FactsOf(const text::Tokenizer& tokenizer);

enum class SplitKind { kTrain, kValidation };

// "train" or "validation".
absl::string_view SplitName(SplitKind split);

// The documents of a split, numbered over its shards in manifest order. Immutable; lives as long as its Dataset.
class SplitView {
 public:
  explicit SplitView(std::vector<ShardReader> shards);

  int64_t documents() const { return first_document_.back(); }
  int64_t tokens() const { return first_token_.back(); }
  const std::vector<ShardReader>& shards() const { return shards_; }

  // Tokens of the split before document d; d may be documents().
  int64_t DocumentBegin(int64_t document) const;
  // Whether the tokens [begin, begin + count), count > 0, are those of one shard.
  bool InOneShard(int64_t begin, int64_t count) const;
  // Token ids of the split [begin, begin + count) into `out`; the range must lie inside one document.
  void CopyTokens(int64_t begin, int64_t count, int32_t* out) const;
  // Has the range fetched into the processor's cache; part of it may lie past the split's end.
  void Prefetch(int64_t begin, int64_t count) const;
  // Index of the shard that holds `document`.
  int ShardOfDocument(int64_t document) const;
  // The shard that holds a token of the split.
  const ShardReader& ShardAt(int64_t token) const { return shards_[ShardOfToken(token)]; }
  // Split-wide number of the shard's first document and token.
  int64_t ShardFirstDocument(int shard) const { return first_document_[shard]; }
  int64_t ShardFirstToken(int shard) const { return first_token_[shard]; }

 private:
  size_t ShardOfToken(int64_t token) const;

  std::vector<ShardReader> shards_;
  std::vector<int64_t> first_document_;  // shards + 1
  std::vector<int64_t> first_token_;     // shards + 1
};

struct OpenOptions {
  // Read every shard once: its digest, and that every token id is in the vocabulary. Without it only headers, offsets
  // and tokenizer files are checked, and a damaged token id is not noticed; for looking at a dataset, not for training.
  bool check_contents = true;
};

// Immutable and thread-safe after Open. Files are mapped, so they must not be written to while it lives.
class Dataset {
 public:
  // NOT_FOUND: no manifest. DATA_LOSS: names the file and what is wrong with it. FAILED_PRECONDITION: the tokenizer
  // files are not those the dataset was built with ("the vocabulary does not match the dataset").
  static absl::StatusOr<std::shared_ptr<const Dataset>> Open(const std::string& directory, OpenOptions options = {});

  const std::string& directory() const { return directory_; }
  const Manifest& manifest() const { return manifest_; }
  const std::string& digest() const { return manifest_.digest; }
  const VocabularyFacts& vocabulary() const { return vocabulary_; }
  const SplitView& split(SplitKind kind) const { return kind == SplitKind::kTrain ? *train_ : *validation_; }

  struct TokenizerFile {
    std::string name;
    std::string content;
  };
  // Every file of tokenizer/ that the manifest names, in its order.
  const std::vector<TokenizerFile>& tokenizer_files() const { return tokenizer_files_; }

 private:
  Dataset() = default;
  absl::Status LoadTokenizer();
  absl::StatusOr<std::unique_ptr<SplitView>> LoadSplit(const SplitEntry& entry, const OpenOptions& options) const;

  std::string directory_;
  Manifest manifest_;
  VocabularyFacts vocabulary_;
  std::vector<TokenizerFile> tokenizer_files_;
  std::unique_ptr<SplitView> train_;
  std::unique_ptr<SplitView> validation_;
};

// Everything Open checks, and that no special token but [UNK] is among the stored ids. Errors as Dataset::Open.
absl::Status Verify(const std::string& directory);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_DATASET_H_
