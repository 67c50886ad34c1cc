// Documents in, token ids out, on several threads and in order.
#ifndef BERT_DATALOADER_CORPUS_ENCODING_PIPELINE_H_
#define BERT_DATALOADER_CORPUS_ENCODING_PIPELINE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/digest.h"
#include "common/mutex.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/corpus/digest_set.h"
#include "dataloader/documents/document_stream.h"
#include "dataloader/text/tokenizer.h"

namespace bert::corpus {

// What became of a DocumentBatch.
struct EncodedBatch {
  size_t file = 0;
  documents::Position next;
  int64_t bytes_read = 0;
  std::optional<FileDigest> end;
  std::vector<documents::Fault> faults;
  int64_t duplicates = 0;
  // Without text, or without tokens.
  int64_t empty = 0;

  struct Document {
    SplitKind split = SplitKind::kTrain;
    int64_t text_bytes = 0;
    // As `wc -w` counts.
    int64_t words = 0;
    int64_t tokens = 0;
  };
  std::vector<Document> documents;
  // Of all documents, one after the other.
  std::vector<uint32_t> token_ids;
  // Of the documents that no earlier one is the same as, whether they have tokens or not.
  std::vector<DocumentDigest> digests;
};

// Each thread takes the next batch, leaves out what was there before, and tokenizes the rest. At most two batches a
// thread are under way or wait for Next(), which bounds memory. Names of special tokens in the text are text.
class EncodingPipeline {
 public:
  struct Options {
    int threads = 1;
    double validation_share = 0;
    // Of documents that need not be stored again.
    std::vector<DocumentDigest> seen = {};
  };

  // `stream` and `tokenizer` must outlive the pipeline.
  EncodingPipeline(documents::DocumentStream* stream, const text::Tokenizer* tokenizer, Options options);
  // Stops the stream, and ends the threads.
  ~EncodingPipeline();
  EncodingPipeline(const EncodingPipeline&) = delete;
  EncodingPipeline& operator=(const EncodingPipeline&) = delete;

  // Batches in the stream's order; nullopt at its end. Errors of the stream, in their place. For one thread.
  absl::StatusOr<std::optional<EncodedBatch>> Next();

 private:
  struct Work {
    EncodedBatch batch;
    std::vector<std::string> texts;
  };

  void Run();
  // Nothing when the stream has ended or the pipeline stops. Sets the batch's number.
  std::optional<Work> Take(int64_t* number);
  // Documents of a batch without duplicates; in the stream's order.
  Work Sift(documents::DocumentBatch batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(take_mutex_);
  void Encode(Work& work) const;

  documents::DocumentStream* const stream_;
  const text::Tokenizer* const tokenizer_;
  const double validation_share_;
  const int64_t batches_max_;

  // Held while a batch is taken, also while the stream waits for the disk. Taken before mutex_.
  Mutex take_mutex_;
  DigestSet seen_ ABSL_GUARDED_BY(take_mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::map<int64_t, absl::StatusOr<EncodedBatch>> finished_ ABSL_GUARDED_BY(mutex_);
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t given_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // No more is taken.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

// The split of a document: by a hash of its text alone, so it is the same in every build, whatever stands around it,
// and one that is validation at a share is validation at every larger share. Therefore no text is in both splits.
SplitKind SplitOf(std::string_view document, double validation_share);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_ENCODING_PIPELINE_H_
