// Writes the C++ source of the character tables: character_table_generator > character_tables.cc
//
// Looking every property up where text is encoded would ask ICU half a dozen questions a code point. This asks them
// once, at build time, for every code point.
#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/check.h"
#include "dataloader/text/character_table.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

constexpr char32_t kCodePoints = 0x110000;
constexpr size_t kNumbersPerLine = 12;

bool IsSurrogate(char32_t c) { return c >= 0xD800 && c <= 0xDFFF; }
bool IsHangulSyllable(char32_t c) { return c >= 0xAC00 && c <= 0xD7A3; }

class TableWriter {
 public:
  TableWriter(bool strip_accents, bool lowercase) : strip_accents_(strip_accents), lowercase_(lowercase) {}

  void Build() {
    std::map<std::vector<uint32_t>, uint16_t> known;
    for (char32_t begin = 0; begin < kCodePoints; begin += CharacterTable::kBlockMask + 1) {
      std::vector<uint32_t> block;
      for (char32_t c = begin; c <= begin + CharacterTable::kBlockMask; ++c) block.push_back(Entry(c));
      const auto [found, added] = known.emplace(block, static_cast<uint16_t>(known.size()));
      if (added) entries_.insert(entries_.end(), block.begin(), block.end());
      blocks_.push_back(found->second);
    }
  }

  void Print(std::string_view suffix, std::ostream& out) const {
    PrintArray("uint16_t kBlocks", suffix, blocks_, out);
    PrintArray("uint32_t kEntries", suffix, entries_, out);
    PrintArray("unsigned char kPool", suffix, std::vector<uint8_t>(pool_.begin(), pool_.end()), out);
  }

 private:
  template <typename T>
  static void PrintArray(std::string_view name, std::string_view suffix, const std::vector<T>& values,
                         std::ostream& out) {
    // An array has at least one element.
    out << "constexpr " << name << suffix << "[" << std::max<size_t>(values.size(), 1) << "] = {";
    for (size_t i = 0; i < values.size(); ++i) {
      out << (i % kNumbersPerLine == 0 ? "\n" : " ") << static_cast<uint32_t>(values[i]) << ",";
    }
    out << "};\n";
  }

  static uint32_t Pack(CharacterKind kind, size_t length, uint32_t payload) {
    return static_cast<uint32_t>(kind) | static_cast<uint32_t>(length) << CharacterEntry::kLengthShift |
           payload << CharacterEntry::kPayloadShift;
  }

  uint32_t Entry(char32_t c) {
    // Surrogates are never asked for.
    if (IsSurrogate(c) || c == kReplacementCharacter || IsControl(c)) return Pack(CharacterKind::kDropped, 0, 0);
    if (IsWhitespace(c)) return Pack(CharacterKind::kSpace, 0, 0);
    if (strip_accents_ && IsHangulSyllable(c)) return Pack(CharacterKind::kHangulSyllable, 0, 0);
    std::u32string parts;
    if (strip_accents_) {
      AppendDecomposed(c, &parts);
    } else {
      parts = {c};
    }
    size_t kept = 0;
    size_t punctuation = 0;
    std::string text;
    for (const char32_t part : parts) {
      if (strip_accents_ && IsNonspacingMark(part)) continue;
      // It stays, but where depends on the marks around it.
      if (strip_accents_ && CombiningClass(part) != 0) return Pack(CharacterKind::kContextual, 0, 0);
      BERT_CHECK(!IsWhitespace(part)) << "code point " << static_cast<uint32_t>(c) << " decomposes into a space";
      ++kept;
      if (IsPunctuation(part)) ++punctuation;
      if (lowercase_) {
        AppendLowercaseUtf8(part, &text);
      } else {
        AppendUtf8(part, &text);
      }
    }
    if (kept == 0) return Pack(CharacterKind::kDropped, 0, 0);
    // Punctuation beside something else would be two words.
    if (punctuation > 0 && kept > 1) return Pack(CharacterKind::kContextual, 0, 0);
    CharacterKind kind = punctuation > 0 ? CharacterKind::kPunctuation : CharacterKind::kLetter;
    if (IsChinese(c)) {
      BERT_CHECK(kept == 1 && punctuation == 0) << "ideograph " << static_cast<uint32_t>(c) << " is not one letter";
      kind = CharacterKind::kIdeograph;
    }
    return WithText(kind, c, text);
  }

  uint32_t WithText(CharacterKind kind, char32_t c, const std::string& text) {
    std::string itself;
    AppendUtf8(c, &itself);
    if (text == itself) return Pack(kind, 0, 0);
    BERT_CHECK(text.size() <= CharacterEntry::kBytesMax) << "code point " << static_cast<uint32_t>(c);
    uint32_t payload = 0;
    if (text.size() <= CharacterEntry::kInlineBytes) {
      for (size_t i = 0; i < text.size(); ++i) payload |= uint32_t{static_cast<uint8_t>(text[i])} << (8 * i);
    } else {
      size_t offset = pool_.find(text);
      if (offset == std::string::npos) {
        offset = pool_.size();
        pool_ += text;
      }
      payload = static_cast<uint32_t>(offset);
    }
    return Pack(kind, text.size(), payload);
  }

  const bool strip_accents_;
  const bool lowercase_;
  std::vector<uint16_t> blocks_;
  std::vector<uint32_t> entries_;
  std::string pool_;
};

void PrintAll(std::ostream& out) {
  out << "// Generated by character_table_generator.\n"
         "#include <array>\n\n#include \"dataloader/text/character_table.h\"\n\n"
         "namespace bert::text {\nnamespace {\n\n";
  std::string tables;
  for (const bool strip_accents : {false, true}) {
    for (const bool lowercase : {false, true}) {
      const std::string suffix = std::string(strip_accents ? "Strip" : "Keep") + (lowercase ? "Lower" : "Cased");
      TableWriter table(strip_accents, lowercase);
      table.Build();
      table.Print(suffix, out);
      tables +=
          "    {kBlocks" + suffix + ", kEntries" + suffix + ", reinterpret_cast<const char*>(kPool" + suffix + ")},\n";
    }
  }
  out << "\n}  // namespace\n\n"
         "const CharacterTable& CharacterTableFor(bool strip_accents, bool lowercase) {\n"
         "  static const std::array<CharacterTable, 4> tables = {{\n"
      << tables
      << "  }};\n  return tables[(strip_accents ? 2 : 0) + (lowercase ? 1 : 0)];\n}\n\n}  // namespace bert::text\n";
}

}  // namespace
}  // namespace bert::text

int main() {
  bert::text::PrintAll(std::cout);
  std::cout.flush();
  return std::cout ? 0 : 1;
}
