// A dataset in words and figures, for people and as JSON.
#ifndef BERT_DATALOADER_DATASET_SUMMARY_H_
#define BERT_DATALOADER_DATASET_SUMMARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/text/tokenizer.h"

namespace bert::data {

// The beginning of a stored document, decoded.
struct DocumentSample {
  std::string split;
  int64_t document = 0;
  int64_t tokens = 0;
  // Ends with " ..." where the document goes on.
  std::string text;
};

// The first `count` documents of each split. DATA_LOSS: an id is outside the vocabulary.
absl::StatusOr<std::vector<DocumentSample>> SampleDocuments(const corpus::Dataset& dataset,
                                                            const text::Tokenizer& tokenizer, int64_t count);

// Vocabulary and baseline, and small tables of splits and corpora.
std::string SummaryText(const std::string& directory, const corpus::Manifest& manifest);

// The same, complete, with the samples: one indented JSON object.
std::string SummaryJson(const std::string& directory, const corpus::Manifest& manifest,
                        const std::vector<DocumentSample>& samples);

}  // namespace bert::data

#endif  // BERT_DATALOADER_DATASET_SUMMARY_H_
