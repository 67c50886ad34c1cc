// Small datasets for tests and benchmarks, without text: words of random pieces.
#ifndef BERT_DATALOADER_CORPUS_SYNTHETIC_DATASET_H_
#define BERT_DATALOADER_CORPUS_SYNTHETIC_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/corpus/manifest.h"

namespace bert::corpus {

struct SyntheticOptions {
  uint64_t seed = 1;
  int32_t vocab_size = 1000;
  int token_bytes = 2;
  // Tokens of each document, one shard per inner vector.
  std::vector<std::vector<int64_t>> train = {{50, 300, 7, 120}, {1, 2, 900, 64, 33}};
  std::vector<std::vector<int64_t>> validation = {{80, 40, 5}};
  // Of 100 tokens, how many continue a word.
  int continuation_percent = 25;
};

// The vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK], words, and in the last quarter "##" pieces.
std::string SyntheticVocabulary(int32_t vocab_size);

// Writes a complete dataset into `directory`, which is made, and returns its manifest. The same options give the same
// dataset.
absl::StatusOr<Manifest> WriteSyntheticDataset(const std::string& directory, const SyntheticOptions& options);

// `documents` lengths around `mean`, between 1 and 3 * mean.
std::vector<int64_t> SyntheticLengths(uint64_t seed, int64_t documents, int64_t mean);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_SYNTHETIC_DATASET_H_
