#include "dataloader/text/byte_level.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

enum class Kind : uint8_t { kLetter, kNumber, kSpace, kOther };

struct Range {
  char32_t first;
  char32_t last;
};

// Of Unicode 15.1 and 16, which ICU 72 does not know.
constexpr std::array<Range, 22> kNewLetters = {
    {{0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
     {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
     {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
     {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
     {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}}};
constexpr std::array<Range, 7> kNewNumbers = {{{0x10D40, 0x10D49},
                                               {0x116D0, 0x116E3},
                                               {0x11BF0, 0x11BF9},
                                               {0x16130, 0x16139},
                                               {0x16D70, 0x16D79},
                                               {0x1CCF0, 0x1CCF9},
                                               {0x1E5F1, 0x1E5FA}}};

bool IsInside(char32_t c, const auto& ranges) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), c,
                                      [](char32_t value, Range range) { return value < range.first; });
  return after != ranges.begin() && c <= std::prev(after)->last;
}

Kind KindOf(char32_t c) {
  if (c < 0x80) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return Kind::kLetter;
    if (c >= '0' && c <= '9') return Kind::kNumber;
    return IsWhitespace(c) ? Kind::kSpace : Kind::kOther;
  }
  const uint32_t category = U_GET_GC_MASK(static_cast<UChar32>(c));
  if ((category & U_GC_L_MASK) != 0) return Kind::kLetter;
  if ((category & U_GC_N_MASK) != 0) return Kind::kNumber;
  if (IsWhitespace(c)) return Kind::kSpace;
  if (IsInside(c, kNewLetters)) return Kind::kLetter;
  return IsInside(c, kNewNumbers) ? Kind::kNumber : Kind::kOther;
}

// The kind of the character at `*offset`, which is moved behind it.
Kind NextKind(std::string_view text, size_t* offset) {
  const auto byte = static_cast<uint8_t>(text[*offset]);
  if (byte >= 0x80) return KindOf(DecodeUtf8(text, offset));
  ++*offset;
  return KindOf(byte);
}

// Where the run of characters of `kind` ends that goes on at `offset`.
size_t EndOfRun(std::string_view text, size_t offset, Kind kind) {
  while (offset < text.size()) {
    size_t next = offset;
    if (NextKind(text, &next) != kind) break;
    offset = next;
  }
  return offset;
}

// The length of the English contraction that `text` begins with, or 0.
size_t Contraction(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const char c = text[1];
  if (c == 's' || c == 't' || c == 'm' || c == 'd') return 2;
  const std::string_view two = text.substr(1, 2);
  return two == "re" || two == "ve" || two == "ll" ? 3 : 0;
}

// Where the piece ends that begins at `begin`.
size_t EndOfPiece(std::string_view text, size_t begin) {
  if (const size_t length = Contraction(text.substr(begin)); length > 0) return begin + length;
  size_t next = begin;
  const Kind kind = NextKind(text, &next);
  if (kind != Kind::kSpace) return EndOfRun(text, next, kind);
  if (text[begin] == ' ' && next < text.size()) {
    size_t behind = next;
    const Kind second = NextKind(text, &behind);
    if (second != Kind::kSpace) return EndOfRun(text, behind, second);
  }
  // The last space of a run belongs to what follows.
  size_t last = begin;
  size_t end = next;
  while (end < text.size()) {
    size_t behind = end;
    if (NextKind(text, &behind) != Kind::kSpace) break;
    last = end;
    end = behind;
  }
  return end == text.size() || last == begin ? end : last;
}

constexpr bool IsPrintable(uint8_t byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD); }

constexpr std::array<char32_t, 256> MakeCharacters() {
  std::array<char32_t, 256> characters = {};
  char32_t next = 0x100;
  for (size_t byte = 0; byte < characters.size(); ++byte) {
    characters[byte] = IsPrintable(static_cast<uint8_t>(byte)) ? static_cast<char32_t>(byte) : next++;
  }
  return characters;
}

constexpr std::array<char32_t, 256> kCharacters = MakeCharacters();
constexpr size_t kCharactersEnd = 0x100 + 68;
constexpr uint16_t kNoByte = 0xFFFF;

constexpr std::array<uint16_t, kCharactersEnd> MakeBytes() {
  std::array<uint16_t, kCharactersEnd> bytes = {};
  bytes.fill(kNoByte);
  for (size_t byte = 0; byte < kCharacters.size(); ++byte) bytes[kCharacters[byte]] = static_cast<uint16_t>(byte);
  return bytes;
}

constexpr std::array<uint16_t, kCharactersEnd> kBytes = MakeBytes();

}  // namespace

void ForEachByteLevelPiece(std::string_view text, absl::FunctionRef<void(std::string_view)> piece) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = EndOfPiece(text, begin);
    piece(text.substr(begin, end - begin));
    begin = end;
  }
}

char32_t CharacterOfByte(uint8_t byte) { return kCharacters[byte]; }

std::optional<uint8_t> ByteOfCharacter(char32_t character) {
  if (character >= kBytes.size() || kBytes[character] == kNoByte) return std::nullopt;
  return static_cast<uint8_t>(kBytes[character]);
}

void AppendByteCharacters(std::string_view bytes, std::string* out) {
  for (const char byte : bytes) AppendUtf8(kCharacters[static_cast<uint8_t>(byte)], out);
}

void AppendBytesOfCharacters(std::string_view token, std::string* out) {
  const size_t before = out->size();
  for (size_t offset = 0; offset < token.size();) {
    const std::optional<uint8_t> byte = ByteOfCharacter(DecodeUtf8(token, &offset));
    if (!byte) {
      out->replace(before, std::string::npos, token);
      return;
    }
    out->push_back(static_cast<char>(*byte));
  }
}

}  // namespace bert::text
