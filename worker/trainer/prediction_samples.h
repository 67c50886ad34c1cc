// What a model predicts for a few sentences of the held-out split, the same ones each time.
#ifndef BERT_WORKER_TRAINER_PREDICTION_SAMPLES_H_
#define BERT_WORKER_TRAINER_PREDICTION_SAMPLES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataloader/text/tokenizer.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/batch_source.h"
#include "worker/trainer/dataset_description.h"
#include "worker/trainer/sample_sentences.h"

namespace bert::trainer {

// The three most probable tokens at each mask, in the order of probability (equal ones by id), and the right one's
// probability. `rows`: the batch that the sentences are picked from, of at most `width` tokens each.
std::vector<std::vector<MaskPrediction>> PredictMasks(model::MaskedLm& model, const sampling::RowBatch& rows,
                                                      const std::vector<SampleSentence>& sentences, int32_t width);

// Of one rank. Not thread-safe.
class PredictionSamples {
 public:
  // `count`: rows of the split, from its start, each of which gives a sentence; 0: none. Logs where the dataset's
  // tokenizer cannot be read, and has no samples then.
  PredictionSamples(const DatasetDescription& dataset, int32_t count, int32_t width);

  // Reads the rows the first time; logs the predictions and returns them as Markdown, empty where there are none.
  // Errors of BatchSource.
  absl::StatusOr<std::string> Show(model::MaskedLm& model, const OpenBatchSource& open);

 private:
  absl::Status Read(const OpenBatchSource& open);

  const int64_t split_rows_;
  const int32_t count_;
  const int32_t width_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  bool read_ = false;
  sampling::RowBatch rows_;
  std::vector<SampleSentence> sentences_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_PREDICTION_SAMPLES_H_
