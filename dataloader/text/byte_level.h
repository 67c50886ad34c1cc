// Bytes as characters, and text cut into pieces, as GPT-2's and RoBERTa's tokenizers do it (Hugging Face's ByteLevel).
#ifndef BERT_DATALOADER_TEXT_BYTE_LEVEL_H_
#define BERT_DATALOADER_TEXT_BYTE_LEVEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace bert::text {

// Calls `piece` with consecutive parts of `text`, nothing left out:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// Letters and numbers are those of Unicode 16, as in the `tokenizers` that our tests compare with. A byte that is not
// UTF-8 counts as [^\s\p{L}\p{N}].
void ForEachByteLevelPiece(std::string_view text, absl::FunctionRef<void(std::string_view)> piece);

// The character that stands for a byte in a vocabulary: itself where it is printable in Latin-1, else one from U+0100
// on, so that none is white space. A space is U+0120.
char32_t CharacterOfByte(uint8_t byte);
std::optional<uint8_t> ByteOfCharacter(char32_t character);

// Appends the characters of `bytes`, in UTF-8.
void AppendByteCharacters(std::string_view bytes, std::string* out);

// Appends the bytes that the characters of `token` stand for; where one stands for none, the token as it is.
void AppendBytesOfCharacters(std::string_view token, std::string* out);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_BYTE_LEVEL_H_
