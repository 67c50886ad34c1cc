// One file of tokenized documents.
//
//   byte 0   char[8]  "BERTSHRD"
//        8   u32      version, 1
//       12   u32      token_bytes: 2 or 4
//       16   u64      documents
//       24   u64      tokens
//       32   u64      position of the document offsets, a multiple of 8
//       40   u8[24]   zero
//       64   u16|u32  token ids of all documents, one document after the other, no special tokens; zero to 8 bytes
//        …   u64      offsets[documents + 1] in tokens: document d is [offsets[d], offsets[d + 1])
//
// All integers are little-endian; the file ends with the last offset. The header is written last, so a shard whose
// writer died has no magic and is refused.
#ifndef BERT_DATALOADER_CORPUS_SHARD_H_
#define BERT_DATALOADER_CORPUS_SHARD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/mapped_file.h"
#include "dataloader/corpus/append_file.h"

namespace bert::corpus {

// Bytes of a stored token id: 2 where every id of the vocabulary fits, else 4.
constexpr int TokenBytesFor(int64_t vocab_size) { return vocab_size <= 65536 ? 2 : 4; }

// What a manifest says of one shard.
struct ShardInfo {
  // Relative to the dataset's directory, as "shards/train-00000.bin".
  std::string file;
  int64_t bytes = 0;
  std::string digest;
  int64_t documents = 0;
  int64_t tokens = 0;

  friend bool operator==(const ShardInfo&, const ShardInfo&) = default;
};

// Appends documents to a shard. Nothing is at `path` until Finish() has returned OK; then all of it is, durably. Until
// then the tokens lie in "<path>.partial" and the documents' ends in "<path>.offsets", so that memory does not grow
// with the shard. Destroyed before Finish(), it removes both, unless they were synced. Not thread-safe.
class ShardWriter {
 public:
  // A new shard. token_bytes: 2 or 4. The folder of `path` must exist; a file already there is replaced at Finish().
  static absl::StatusOr<std::unique_ptr<ShardWriter>> Create(const std::string& path, int token_bytes);
  // The shard as it was when it held so many documents with so many tokens and Sync() had returned OK, whatever was
  // appended since, even if it was finished since. DATA_LOSS or NOT_FOUND: the files are not those of that shard.
  static absl::StatusOr<std::unique_ptr<ShardWriter>> Resume(const std::string& path, int token_bytes,
                                                             int64_t documents, int64_t tokens);
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  // INVALID_ARGUMENT: an id does not fit token_bytes, or the document is empty. RESOURCE_EXHAUSTED: the disk is full.
  // After an error the shard cannot be finished.
  absl::Status Append(absl::Span<const uint32_t> token_ids);

  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }

  // What was appended so far survives the machine, and this writer.
  absl::Status Sync();

  // Writes offsets and header, syncs, renames into place. Returns the finished file's facts, `file` left empty.
  absl::StatusOr<ShardInfo> Finish();

 private:
  ShardWriter(std::string path, int token_bytes);
  // Puts a finished shard back to where it was before Finish().
  static absl::Status Unfinish(const std::string& path, int token_bytes, int64_t documents, int64_t tokens);
  absl::Status AppendOffsets();

  const std::string path_;
  const int token_bytes_;
  std::unique_ptr<AppendFile> token_file_;
  std::unique_ptr<AppendFile> offset_file_;
  int64_t documents_ = 0;
  int64_t tokens_ = 0;
  bool kept_ = false;  // Whether the files stay behind this object.
  std::vector<uint16_t> narrow_;
  absl::Status status_;
};

// A finished shard, memory-mapped. Immutable and thread-safe after Open.
//
// Where the file is cut off or cannot be read any more, tokens and offsets read as zeros, and lost() is true from then
// on.
class ShardReader {
 public:
  // Validates header, sizes and every offset. NOT_FOUND: no such file. DATA_LOSS: names file and byte offset of what is
  // wrong. Does not check the digest or the token ids: see Dataset::Open.
  static absl::StatusOr<ShardReader> Open(const std::string& path);

  const std::string& path() const { return path_; }
  int token_bytes() const { return token_bytes_; }
  int64_t documents() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t tokens() const { return static_cast<int64_t>(offsets_.back()); }
  // offsets()[d] is where document d starts, in tokens of this shard; documents() + 1 of them.
  absl::Span<const uint64_t> offsets() const { return offsets_; }

  // Token ids [begin, begin + count) of the shard into `out`. The range must lie inside it.
  void CopyTokens(int64_t begin, int64_t count, int32_t* out) const;
  // Asks the processor to fetch that range into its cache; part of it may lie past the shard's end.
  void Prefetch(int64_t begin, int64_t count) const;
  // Position of the first token id >= limit, or -1.
  int64_t FindTokenAtLeast(uint32_t limit) const;
  // Position of the first token id equal to `id`, or -1.
  int64_t FindToken(uint32_t id) const;
  // The whole file.
  std::string_view contents() const { return file_.bytes(); }
  bool lost() const { return file_.lost(); }

 private:
  ShardReader(std::string path, MappedFile file) : path_(std::move(path)), file_(std::move(file)) {}
  template <typename Predicate>
  int64_t FindIf(Predicate predicate) const;

  std::string path_;
  MappedFile file_;
  int token_bytes_ = 0;
  const char* token_data_ = nullptr;
  absl::Span<const uint64_t> offsets_;
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_SHARD_H_
