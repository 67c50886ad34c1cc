// Sentences with masks, picked from rows to be shown to people together with what a model predicts.
#ifndef BERT_WORKER_TRAINER_SAMPLE_SENTENCES_H_
#define BERT_WORKER_TRAINER_SAMPLE_SENTENCES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/sampling/row_batch.h"
#include "dataloader/text/tokenizer.h"

namespace bert::trainer {

// A token to predict.
struct SampleMask {
  int32_t index = 0;     // In the sentence.
  int64_t position = 0;  // In the row.
  int32_t label = 0;     // The right token.
};

struct SampleSentence {
  int32_t row = 0;                // In the batch.
  std::vector<int32_t> ids;       // As the model gets them.
  std::vector<SampleMask> masks;  // At least one, ascending.
};

struct TokenProbability {
  int32_t id = 0;
  double probability = 0;  // In [0, 1].
};

struct MaskPrediction {
  std::vector<TokenProbability> best;  // Best first.
  double right = 0;                    // Of the label.
};

// Of each row that has one, the sentence around its first mask: between full stops, exclamation or question marks of
// the original text, inside one segment; of a longer one than `tokens_max` the part around the mask.
std::vector<SampleSentence> PickSentences(const sampling::RowBatch& batch, const text::Tokenizer& tokenizer,
                                          int tokens_max = 48);

// For the log: the sentence, then a line for each mask with the predicted tokens and the right one, in percent.
// `predictions` as sentence.masks.
std::vector<std::string> SampleLines(int number, const SampleSentence& sentence,
                                     const std::vector<MaskPrediction>& predictions, const text::Tokenizer& tokenizer);

// The same as Markdown, a table for each sentence.
std::string SampleMarkdown(const SampleSentence& sentence, const std::vector<MaskPrediction>& predictions,
                           const text::Tokenizer& tokenizer);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_SAMPLE_SENTENCES_H_
