// Text files and a tokenizer in, a dataset directory out.
#ifndef BERT_DATALOADER_CORPUS_DATASET_BUILDER_H_
#define BERT_DATALOADER_CORPUS_DATASET_BUILDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/corpus/manifest.h"

namespace bert::corpus {

struct BuildProgress {
  int64_t bytes_read = 0;
  int64_t bytes_total = 0;
  int64_t documents = 0;
  int64_t tokens = 0;
};

struct BuildOptions {
  // Files and directories; see ListTextFiles.
  std::vector<std::string> inputs = {};
  // A directory that LoadTokenizer reads; its files are written anew into the dataset.
  std::string tokenizer_directory = {};
  std::string output = {};
  // Expected share of the documents, in [0, 1).
  double validation_share = 0.05;
  // A shard ends before the document that would make it longer; a longer document has a shard to itself.
  int64_t shard_tokens_max = int64_t{64} << 20;
  // A document that is not UTF-8 is an error instead of being left out.
  bool strict = false;
  // Replace a dataset that is already at `output`.
  bool force = false;
  // How many documents are tokenized at once; the result does not depend on it.
  int threads = 1;
  // Asked every few megabytes; true ends the build with CANCELLED.
  std::function<bool()> cancelled = {};
  std::function<void(const BuildProgress&)> progress = {};
  // Takes one line about a document left out.
  std::function<void(const std::string&)> report = {};
};

struct BuildReport {
  Manifest manifest;
  int64_t files = 0;
  int64_t bytes = 0;
  // Left out: the same text as an earlier document, not UTF-8, nothing but characters that normalisation removes.
  int64_t duplicate_documents = 0;
  int64_t invalid_documents = 0;
  int64_t empty_documents = 0;
  // [UNK] among the stored tokens of both splits.
  int64_t unknown_tokens = 0;
};

// The split of a document: by a hash of its text alone, so it is the same in every build, whatever stands around it,
// and one that is validation at a share is validation at every larger share.
SplitKind SplitOf(std::string_view document, double validation_share);

// Cross-entropy in nats of the validation split's tokens under the training split's frequencies, one added to each
// count of the vocabulary: the loss of a model that only knows how frequent each token is. 0 without validation tokens.
// Counts are per token id, both of the vocabulary's size.
double UnigramCrossEntropy(absl::Span<const uint64_t> train_counts, absl::Span<const uint64_t> validation_counts);

// Builds beside `output` and renames at the end: a build that fails or is killed leaves nothing at `output`, and an old
// dataset there as it was. Documents keep the order of the inputs. Special tokens' names in the text are stored as
// plain text. INVALID_ARGUMENT: options, input that is not UTF-8 (strict), no training document. NOT_FOUND: an input or
// tokenizer file. ALREADY_EXISTS: something is at `output` and `force` is not set, or it is no dataset.
absl::StatusOr<BuildReport> BuildDataset(const BuildOptions& options);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_DATASET_BUILDER_H_
