// The pre-tokenizers that a tokenizer.json can name, each a step from pieces of text to smaller ones.
#ifndef BERT_DATALOADER_TEXT_PRETOKENIZER_STEP_H_
#define BERT_DATALOADER_TEXT_PRETOKENIZER_STEP_H_

#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace bert::text {

// As the pre-tokenizer of the same name in Hugging Face's `tokenizers`.
struct PretokenizerStep {
  enum class Kind { kBert, kWhitespace, kWhitespaceSplit, kByteLevel };

  Kind kind = Kind::kBert;
  // kByteLevel
  bool add_prefix_space = true;
  bool use_regex = true;
  // Changes offsets only; kept for who reads the file we write.
  bool trim_offsets = true;

  bool operator==(const PretokenizerStep&) const = default;
};

// Calls `word` with the words of `piece` in order: of kByteLevel in characters that stand for bytes, of all others as
// they are. The views are good until the call returns.
void ForEachWordOf(const PretokenizerStep& step, std::string_view piece,
                   absl::FunctionRef<void(std::string_view)> word);

// \w of the regular expressions there: letters, marks, digits, connectors and joiners, of Unicode 16.
bool IsWordCharacter(char32_t c);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_PRETOKENIZER_STEP_H_
