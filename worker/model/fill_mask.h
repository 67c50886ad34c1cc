// What a model thinks stands behind [MASK].
#ifndef BERT_WORKER_MODEL_FILL_MASK_H_
#define BERT_WORKER_MODEL_FILL_MASK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataloader/text/tokenizer.h"
#include "worker/model/masked_lm.h"

namespace bert::model {

struct Prediction {
  std::string token;  // As in the vocabulary, marks included.
  double probability = 0;
};

// The most probable tokens of one [MASK], best first; equal ones by id.
struct FilledMask {
  int64_t position = 0;  // Among the tokens of the sentence, [CLS] being 0.
  std::vector<Prediction> predictions;
};

// A model and its tokenizer, from one directory. Not thread-safe.
class MaskFiller {
 public:
  // Errors of LoadPretrained and text::LoadTokenizer; FAILED_PRECONDITION where the vocabulary's size is not the
  // model's.
  static absl::StatusOr<MaskFiller> Load(const std::string& directory);

  // One element per [MASK] of the text, by whatever name the vocabulary has it. INVALID_ARGUMENT: none, or more tokens
  // than the model has positions.
  absl::StatusOr<std::vector<FilledMask>> Fill(const std::string& text, int64_t top_k);

 private:
  MaskFiller(std::unique_ptr<MaskedLm> model, std::unique_ptr<text::Tokenizer> tokenizer);

  std::unique_ptr<MaskedLm> model_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_FILL_MASK_H_
