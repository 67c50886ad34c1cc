#include "dataloader/text/unicode.h"

#include <unicode/normlzr.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "common/check.h"

namespace bert::text {
namespace {

// Unicode 8 for categories, 9 for normalisation: see the header.
constexpr int kCategoryMajorVersion = 8;
constexpr int kNormalizationMajorVersion = 9;

// False too for code points that are not assigned: ICU gives them version 0.
bool AssignedUpTo(char32_t c, int major_version) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= major_version;
}

// The general categories of `c`, as a U_GC_*_MASK, before or up to Unicode 8; 0 for what was not assigned then.
uint32_t Category(char32_t c) {
  switch (c) {
    case 0x166D:   // CANADIAN SYLLABICS CHI SIGN: punctuation until Unicode 12
    case 0x111C9:  // SHARADA SANDHI MARK: punctuation until Unicode 11
      return U_GC_PO_MASK;
    case 0x1734:  // HANUNOO SIGN PAMUDPOD: a nonspacing mark until Unicode 14
      return U_GC_MN_MASK;
    case 0x1885:  // MONGOLIAN LETTER ALI GALI BALUDA: a letter until Unicode 9
    case 0x1886:  // MONGOLIAN LETTER ALI GALI THREE BALUDA
      return U_GC_LO_MASK;
    case 0xA9BD:  // JAVANESE CONSONANT SIGN KERET: a spacing mark until Unicode 11
      return U_GC_MC_MASK;
    default:
      return AssignedUpTo(c, kCategoryMajorVersion) ? U_GET_GC_MASK(static_cast<UChar32>(c)) : 0;
  }
}

// Lowercase mappings of Unicode 16 and 17: `first` to `last`, each `offset` further. ICU 72 does not have them.
struct LowercaseRange {
  char32_t first;
  char32_t last;
  int32_t offset;
};
constexpr std::array<LowercaseRange, 10> kNewLowercase = {{
    {0x1C89, 0x1C89, 1},
    {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},
    {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},
    {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},
    {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 0x20},
    {0x16EA0, 0x16EB8, 0x1B},
}};

char32_t SimpleLowercase(char32_t c) {
  for (const LowercaseRange& range : kNewLowercase) {
    if (c < range.first) break;
    if (c <= range.last) return static_cast<char32_t>(static_cast<int32_t>(c) + range.offset);
  }
  return static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
}

const UNormalizer2* Nfd() {
  static const UNormalizer2* const nfd = [] {
    UErrorCode error = U_ZERO_ERROR;
    const UNormalizer2* instance = unorm2_getNFDInstance(&error);
    BERT_CHECK(U_SUCCESS(error)) << "ICU has no NFD data: " << u_errorName(error);
    return instance;
  }();
  return nfd;
}

bool IsAscii(char32_t c) { return c < 0x80; }

}  // namespace

void AppendUtf8(char32_t c, std::string* out) {
  if (IsAscii(c)) {
    out->push_back(static_cast<char>(c));
    return;
  }
  std::array<uint8_t, U8_MAX_LENGTH> bytes;
  size_t length = 0;
  U8_APPEND_UNSAFE(bytes.data(), length, static_cast<uint32_t>(c));
  out->append(reinterpret_cast<const char*>(bytes.data()), length);
}

size_t FindInvalidUtf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  size_t offset = 0;
  while (offset < text.size()) {
    if (bytes[offset] < 0x80) {
      ++offset;
      continue;
    }
    const size_t begin = offset;
    UChar32 c;
    U8_NEXT(bytes, offset, text.size(), c);
    if (c < 0) return begin;
  }
  return std::string_view::npos;
}

size_t CountCodePoints(std::string_view well_formed) {
  return static_cast<size_t>(std::count_if(well_formed.begin(), well_formed.end(),
                                           [](char byte) { return (static_cast<uint8_t>(byte) & 0xC0) != 0x80; }));
}

bool IsWhitespace(char32_t c) {
  if (IsAscii(c)) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(static_cast<UChar32>(c));
}

bool IsControl(char32_t c) {
  if (IsAscii(c)) return (c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
  return (Category(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0;
}

bool IsPunctuation(char32_t c) {
  if (IsAscii(c)) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  }
  return (Category(c) & U_GC_P_MASK) != 0;
}

bool IsChinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

bool IsNonspacingMark(char32_t c) { return !IsAscii(c) && (Category(c) & U_GC_MN_MASK) != 0; }

int CombiningClass(char32_t c) {
  if (c < 0x300 || !AssignedUpTo(c, kNormalizationMajorVersion)) return 0;
  return u_getCombiningClass(static_cast<UChar32>(c));
}

void AppendDecomposed(char32_t c, std::u32string* out) {
  // Four UTF-16 units are the longest canonical decomposition; ICU says so by an error otherwise.
  std::array<UChar, 8> units;
  int32_t length = -1;
  if (!IsAscii(c) && AssignedUpTo(c, kNormalizationMajorVersion)) {
    UErrorCode error = U_ZERO_ERROR;
    length = unorm2_getDecomposition(Nfd(), static_cast<UChar32>(c), units.data(), units.size(), &error);
    BERT_CHECK(U_SUCCESS(error)) << "decomposing code point " << static_cast<uint32_t>(c) << ": " << u_errorName(error);
  }
  if (length < 0) {
    out->push_back(c);
    return;
  }
  for (int32_t i = 0; i < length;) {
    UChar32 part;
    U16_NEXT(units.data(), i, length, part);
    out->push_back(static_cast<char32_t>(part));
  }
}

void AppendLowercaseUtf8(char32_t c, std::string* out) {
  if (IsAscii(c)) {
    out->push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c));
  } else if (c == 0x130) {
    out->append("i\xCC\x87");  // LATIN CAPITAL LETTER I WITH DOT ABOVE: the one lowercase of two code points.
  } else {
    AppendUtf8(SimpleLowercase(c), out);
  }
}

}  // namespace bert::text
