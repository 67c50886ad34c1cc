// The normalisers that a tokenizer.json can name, each a step from text to text.
#ifndef BERT_DATALOADER_TEXT_NORMALIZER_STEP_H_
#define BERT_DATALOADER_TEXT_NORMALIZER_STEP_H_

#include <string>
#include <string_view>

#include "dataloader/text/normalizer.h"

namespace bert::text {

// As the normaliser of the same name in Hugging Face's `tokenizers`, whose normal forms are those of Unicode 9.
struct NormalizerStep {
  enum class Kind { kBert, kNfc, kNfd, kNfkc, kNfkd, kLowercase, kStripAccents, kStrip };

  Kind kind = Kind::kBert;
  // kBert
  bool clean_text = true;
  NormalizerOptions bert = {};
  // kStrip: at which ends white space goes.
  bool left = true;
  bool right = true;

  bool operator==(const NormalizerStep&) const = default;
};

// `text` must be well-formed UTF-8.
std::string Normalized(const NormalizerStep& step, std::string_view text);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_NORMALIZER_STEP_H_
