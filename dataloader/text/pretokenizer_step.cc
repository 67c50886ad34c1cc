#include "dataloader/text/pretokenizer_step.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "dataloader/text/byte_level.h"
#include "dataloader/text/pretokenizer.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Of Unicode 15.1 and 16, which ICU 72 does not know.
constexpr std::array<Range, 32> kNewWordCharacters = {
    {{0x0897, 0x0897},   {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
     {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFC},
     {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0},
     {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2},
     {0x116D0, 0x116E3}, {0x11BC0, 0x11BE0}, {0x11BF0, 0x11BF9}, {0x11F5A, 0x11F5A}, {0x13460, 0x143FA},
     {0x16100, 0x16139}, {0x16D40, 0x16D6C}, {0x16D70, 0x16D79}, {0x18CFF, 0x18CFF}, {0x1CCF0, 0x1CCF9},
     {0x1E5D0, 0x1E5FA}, {0x2EBF0, 0x2EE5D}}};

enum class Kind : uint8_t { kWord, kSpace, kOther };

Kind KindOf(char32_t c) {
  if (IsWhitespace(c)) return Kind::kSpace;
  return IsWordCharacter(c) ? Kind::kWord : Kind::kOther;
}

// \w+|[^\w\s]+, or \S+.
void SplitAtSpaces(std::string_view piece, bool words_apart, absl::FunctionRef<void(std::string_view)> word) {
  size_t begin = 0;
  Kind current = Kind::kSpace;
  for (size_t offset = 0; offset < piece.size();) {
    const size_t at = offset;
    Kind kind = KindOf(DecodeUtf8(piece, &offset));
    if (!words_apart && kind == Kind::kOther) kind = Kind::kWord;
    if (kind == current) continue;
    if (current != Kind::kSpace) word(piece.substr(begin, at - begin));
    begin = at;
    current = kind;
  }
  if (current != Kind::kSpace) word(piece.substr(begin));
}

void SplitIntoBytes(const PretokenizerStep& step, std::string_view piece,
                    absl::FunctionRef<void(std::string_view)> word) {
  std::string prefixed;
  if (step.add_prefix_space && !piece.empty() && piece.front() != ' ') {
    piece = prefixed.assign(" ").append(piece);
  }
  std::string characters;
  const auto emit = [&](std::string_view part) {
    characters.clear();
    AppendByteCharacters(part, &characters);
    word(characters);
  };
  if (step.use_regex) {
    ForEachByteLevelPiece(piece, emit);
  } else if (!piece.empty()) {
    emit(piece);
  }
}

}  // namespace

bool IsWordCharacter(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  const auto code_point = static_cast<UChar32>(c);
  if ((U_GET_GC_MASK(code_point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 || u_isUAlphabetic(code_point) ||
      u_hasBinaryProperty(code_point, UCHAR_JOIN_CONTROL)) {
    return true;
  }
  const auto after = std::upper_bound(kNewWordCharacters.begin(), kNewWordCharacters.end(), c,
                                      [](char32_t value, Range range) { return value < range.first; });
  return after != kNewWordCharacters.begin() && c <= std::prev(after)->last;
}

void ForEachWordOf(const PretokenizerStep& step, std::string_view piece,
                   absl::FunctionRef<void(std::string_view)> word) {
  switch (step.kind) {
    case PretokenizerStep::Kind::kBert:
      ForEachWord(piece, word);
      return;
    case PretokenizerStep::Kind::kWhitespace:
      SplitAtSpaces(piece, /*words_apart=*/true, word);
      return;
    case PretokenizerStep::Kind::kWhitespaceSplit:
      SplitAtSpaces(piece, /*words_apart=*/false, word);
      return;
    case PretokenizerStep::Kind::kByteLevel:
      SplitIntoBytes(step, piece, word);
      return;
  }
}

}  // namespace bert::text
