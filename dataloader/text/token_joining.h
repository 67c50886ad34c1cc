// Tokens back to text, as Hugging Face's decoders do it.
#ifndef BERT_DATALOADER_TEXT_TOKEN_JOINING_H_
#define BERT_DATALOADER_TEXT_TOKEN_JOINING_H_

#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace bert::text {

// A space before every token but the first and those with `prefix`, which go without it. Cleaned up, there is none
// before closing punctuation, and English contractions are closed up.
std::string JoinWordPieces(absl::Span<const std::string_view> tokens, std::string_view prefix, bool clean_up);

// A space for `suffix`, wherever it is, but for the last token's.
std::string JoinBySuffix(absl::Span<const std::string_view> tokens, std::string_view suffix);

// The bytes that byte_level.h's characters stand for; those that are not UTF-8 come out as U+FFFD.
std::string JoinByteLevel(absl::Span<const std::string_view> tokens);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TOKEN_JOINING_H_
