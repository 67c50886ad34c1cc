// UTF-8, and the Unicode properties that BERT's tokenizer looks at, as Hugging Face's `tokenizers` has them.
//
// That library does not use one version of Unicode: its categories are those of Unicode 8 (with a few slips of its
// own), its decompositions and combining classes those of Unicode 9, its lowercase newer than what ICU may carry. Ids
// must be the same on every input, so these functions give its answers for every code point, not the newest standard's.
// tests/tokenizer_parity_test.py compares them with it, code point by code point.
#ifndef BERT_DATALOADER_TEXT_UNICODE_H_
#define BERT_DATALOADER_TEXT_UNICODE_H_

#include <unicode/utf8.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bert::text {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// The code point that begins at text[*offset], which must be inside; moves *offset behind it. Bytes that are not
// well-formed UTF-8 come out as U+FFFD, one for each maximal part of a sequence.
inline char32_t DecodeUtf8(std::string_view text, size_t* offset) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c;
  U8_NEXT_OR_FFFD(bytes, *offset, text.size(), c);
  return static_cast<char32_t>(c);
}

// `c` must be a Unicode scalar value.
void AppendUtf8(char32_t c, std::string* out);

// Offset of the first byte that is not part of well-formed UTF-8 (overlong forms and surrogates are not), or npos.
size_t FindInvalidUtf8(std::string_view text);

size_t CountCodePoints(std::string_view well_formed);

// White_Space.
bool IsWhitespace(char32_t c);

// Cc, Cf, Co, except tab, line feed and carriage return.
bool IsControl(char32_t c);

// Every ASCII character that is neither letter, digit, space nor control; elsewhere the categories P*.
bool IsPunctuation(char32_t c);

// The ideographs that BERT makes words of their own: CJK Unified and Compatibility, without kana and hangul.
bool IsChinese(char32_t c);

// Mn.
bool IsNonspacingMark(char32_t c);

// Canonical combining class; 0 for starters.
int CombiningClass(char32_t c);

// The full canonical decomposition of one code point, itself if it has none.
void AppendDecomposed(char32_t c, std::u32string* out);

// The lowercase of one code point without context (no final sigma); U+0130 becomes two.
void AppendLowercaseUtf8(char32_t c, std::string* out);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_UNICODE_H_
