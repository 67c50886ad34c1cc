// What normalising makes of each code point, as one table look-up.
#ifndef BERT_DATALOADER_TEXT_CHARACTER_TABLE_H_
#define BERT_DATALOADER_TEXT_CHARACTER_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bert::text {

enum class CharacterKind : uint8_t {
  // Part of a word.
  kLetter = 0,
  // Leaves nothing behind, and joins its sides.
  kDropped = 1,
  kSpace = 2,
  // A word of its own.
  kPunctuation = 3,
  // A word of its own where ideographs are handled, else part of one.
  kIdeograph = 4,
  // Decomposes by arithmetic, see DecomposeHangul.
  kHangulSyllable = 5,
  // The result depends on the code points around it: combining marks that stay, and would have to be reordered.
  kContextual = 6,
};

// One code point's entry. `text` is the UTF-8 that stands for it; empty: the code point stands for itself. Kinds
// kDropped, kSpace, kHangulSyllable and kContextual have none.
class CharacterEntry {
 public:
  static constexpr int kLengthShift = 3;
  static constexpr int kPayloadShift = 8;
  // Up to this many bytes are in the entry itself, the first one lowest; more are in the table's pool, and the payload
  // is their offset there.
  static constexpr size_t kInlineBytes = 3;
  static constexpr size_t kBytesMax = 31;

  constexpr explicit CharacterEntry(uint32_t bits) : bits_(bits) {}

  CharacterKind kind() const { return static_cast<CharacterKind>(bits_ & 7); }
  size_t length() const { return (bits_ >> kLengthShift) & kBytesMax; }
  uint32_t payload() const { return bits_ >> kPayloadShift; }

 private:
  uint32_t bits_;
};

// For one choice of accent stripping and lowercasing. Generated at build time from dataloader/text/unicode.h by
// character_table_generator.cc, which says how. Blocks of code points with the same entries are stored once.
struct CharacterTable {
  static constexpr int kBlockShift = 6;
  static constexpr char32_t kBlockMask = (1 << kBlockShift) - 1;

  // Of each block of code points, the offset of its entries.
  const uint16_t* blocks;
  const uint32_t* entries;
  const char* pool;

  // `c` must be a Unicode scalar value.
  CharacterEntry Entry(char32_t c) const {
    return CharacterEntry(entries[(size_t{blocks[c >> kBlockShift]} << kBlockShift) + (c & kBlockMask)]);
  }
  // Of more than kInlineBytes.
  std::string_view Pooled(CharacterEntry entry) const { return {pool + entry.payload(), entry.length()}; }
};

const CharacterTable& CharacterTableFor(bool strip_accents, bool lowercase);

// Canonical decomposition of U+AC00 to U+D7A3 (The Unicode Standard, 3.12): two or three jamo of three bytes each.
// Returns how many bytes of `out` it wrote.
inline size_t DecomposeHangul(char32_t syllable, std::array<char, 9>* out) {
  const uint32_t index = static_cast<uint32_t>(syllable) - 0xAC00;
  const std::array<uint32_t, 3> jamo = {0x1100 + index / 588, 0x1161 + index % 588 / 28, 0x11A7 + index % 28};
  const size_t count = index % 28 == 0 ? 2 : 3;
  for (size_t i = 0; i < count; ++i) {
    (*out)[3 * i] = static_cast<char>(0xE0 | (jamo[i] >> 12));
    (*out)[3 * i + 1] = static_cast<char>(0x80 | ((jamo[i] >> 6) & 0x3F));
    (*out)[3 * i + 2] = static_cast<char>(0x80 | (jamo[i] & 0x3F));
  }
  return 3 * count;
}

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_CHARACTER_TABLE_H_
