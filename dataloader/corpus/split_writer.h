// The shards of one split, one after the other.
#ifndef BERT_DATALOADER_CORPUS_SPLIT_WRITER_H_
#define BERT_DATALOADER_CORPUS_SPLIT_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/corpus/manifest.h"
#include "dataloader/corpus/shard.h"

namespace bert::corpus {

// How far a split has come.
struct SplitState {
  // Finished.
  std::vector<ShardInfo> shards;
  // Of the shard after them; no document means that there is none yet.
  int64_t open_documents = 0;
  int64_t open_tokens = 0;
  // Of all documents.
  int64_t words = 0;
  // How often each token id occurs.
  std::vector<uint64_t> counts;

  int64_t documents() const;
  int64_t tokens() const;

  friend bool operator==(const SplitState&, const SplitState&) = default;
};

// Starts a new shard where a document would make the last one longer than asked for. Not thread-safe.
class SplitWriter {
 public:
  struct Options {
    // The dataset's; holds the shards' folder.
    std::string directory;
    SplitKind split = SplitKind::kTrain;
    // A longer document has a shard to itself.
    int64_t shard_tokens_max = 0;
    size_t vocab_size = 0;
  };

  // Goes on at `state`, which state() gave after a Sync(), or starts with one that is empty. Errors as
  // ShardWriter::Resume, and DATA_LOSS: a finished shard is not there or has another size.
  static absl::StatusOr<std::unique_ptr<SplitWriter>> Open(Options options, SplitState state);

  // Every id must be in the vocabulary.
  absl::Status Add(absl::Span<const uint32_t> token_ids, int64_t words);
  // What was added survives the process and the machine, and state() says where.
  absl::Status Sync();
  absl::StatusOr<SplitEntry> Finish();

  const SplitState& state() const { return state_; }

 private:
  SplitWriter(Options options, SplitState state);
  // Relative to the dataset's directory.
  std::string NextFile() const;
  absl::Status FinishShard();

  const Options options_;
  const int token_bytes_;
  SplitState state_;
  std::unique_ptr<ShardWriter> shard_;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_SPLIT_WRITER_H_
