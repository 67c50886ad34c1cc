// Cuts normalised text into words, as Hugging Face's BertPreTokenizer does it.
#ifndef BERT_DATALOADER_TEXT_PRETOKENIZER_H_
#define BERT_DATALOADER_TEXT_PRETOKENIZER_H_

#include <string_view>

#include "absl/functional/function_ref.h"

namespace bert::text {

// Calls `word` with each word in order: the longest runs without spaces and punctuation, and every punctuation
// character alone. `normalized` is what BertNormalizer gives; the views point into it.
void ForEachWord(std::string_view normalized, absl::FunctionRef<void(std::string_view)> word);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_PRETOKENIZER_H_
