// Files of documents and a tokenizer in, a dataset directory out.
//
//   files ──► DocumentStream ──► EncodingPipeline ──► SplitWriter ×2 ──► dataset
//             a few threads      --threads            the caller's thread
//             read ahead         tokenize             writes, in the files' order
//
// Every few hundred megabytes of text the writer syncs what it has and makes an entry in a journal beside the dataset.
// A build that is started again after it was killed, interrupted or out of disk goes on at that entry, and gives the
// same bytes as one that was left in peace: what documents are stored where depends on their order alone.
#ifndef BERT_DATALOADER_CORPUS_DATASET_BUILDER_H_
#define BERT_DATALOADER_CORPUS_DATASET_BUILDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dataloader/corpus/manifest.h"
#include "dataloader/documents/document_stream.h"
#include "dataloader/documents/input_files.h"

namespace bert::corpus {

struct BuildProgress {
  int64_t bytes_read = 0;
  int64_t bytes_total = 0;
  int64_t documents = 0;
  int64_t tokens = 0;
};

struct BuildOptions {
  documents::InputSpec inputs = {};
  // A directory that LoadTokenizer reads; its files are written anew into the dataset.
  std::string tokenizer_directory = {};
  std::string output = {};
  // Expected share of the documents, in [0, 1).
  double validation_share = 0.05;
  // A shard ends before the document that would make it longer; a longer document has a shard to itself.
  int64_t shard_tokens_max = int64_t{64} << 20;
  // What cannot be read of a file is an error instead of being left out.
  bool strict = false;
  // Replace a dataset that is already at `output`.
  bool force = false;
  // Threads that tokenize; the result does not depend on them.
  int threads = 1;
  // Text between two entries of the journal: what a killed build does again.
  int64_t journal_bytes = int64_t{256} << 20;
  // Text that is read, tokenized and written in one go.
  int64_t batch_bytes = documents::DocumentStream::kBatchBytes;
  // Asked for every batch; true ends the build with CANCELLED.
  std::function<bool()> cancelled = {};
  // At the start, and for every batch.
  std::function<void(const BuildProgress&)> progress = {};
  // Takes one line about a document or the rest of a file that is left out.
  std::function<void(const std::string&)> report = {};
};

struct BuildReport {
  Manifest manifest;
  // What an earlier, unfinished build had read of the inputs; 0 where there was none.
  int64_t resumed_bytes = 0;
  // Why an unfinished build was not gone on with; empty where it was, or there was none.
  std::string restart_reason;
};

// Cross-entropy in nats of the validation split's tokens under the training split's frequencies, one added to each
// count of the vocabulary: the loss of a model that only knows how frequent each token is. 0 without validation tokens.
// Counts are per token id, both of the vocabulary's size.
double UnigramCrossEntropy(absl::Span<const uint64_t> train_counts, absl::Span<const uint64_t> validation_counts);

// Builds in "<output>.partial", with its journal in "<output>.journal", and renames at the end: a build that fails or
// is killed leaves nothing at `output`, and an old dataset there as it was. What it has built stays for the next call
// where that can go on with it; not after INVALID_ARGUMENT. A call with other inputs, options or another tokenizer
// starts over. Documents keep the order of the inputs. Memory: 25 bytes for each different document (for a moment 57
// where an unfinished build is taken up), 8 MiB a thread, and a few times the longest document. INVALID_ARGUMENT:
// options, something that cannot be read (strict), no training document. NOT_FOUND: an input or tokenizer file.
// ALREADY_EXISTS: something is at `output` and `force` is not set, or it is no dataset. FAILED_PRECONDITION: another
// process builds it.
absl::StatusOr<BuildReport> BuildDataset(const BuildOptions& options);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_DATASET_BUILDER_H_
