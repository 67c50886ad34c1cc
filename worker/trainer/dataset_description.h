// What a trainer needs to know of its dataset.
#ifndef BERT_WORKER_TRAINER_DATASET_DESCRIPTION_H_
#define BERT_WORKER_TRAINER_DATASET_DESCRIPTION_H_

#include <cstdint>
#include <string>
#include <vector>

namespace bert::trainer {

struct TokenizerFile {
  std::string name;
  std::string content;
};

struct DatasetDescription {
  std::string digest;
  int32_t vocab_size = 0;
  int32_t pad_id = 0;
  int64_t train_rows = 0;
  int64_t train_tokens = 0;
  int64_t validation_rows = 0;
  // Loss of a model that only knows how frequent each token is, in nats.
  double unigram_cross_entropy = 0;
  std::vector<TokenizerFile> tokenizer_files;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_DATASET_DESCRIPTION_H_
