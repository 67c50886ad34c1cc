#include "dataloader/text/word_scanner.h"

namespace bert::text {
namespace {

AsciiTable MakeAsciiTable(bool lowercase) {
  AsciiTable table;
  for (char32_t c = 0; c < 0x80; ++c) {
    if (IsControl(c)) {
      table.kinds[c] = CharacterKind::kDropped;
    } else if (IsWhitespace(c)) {
      table.kinds[c] = CharacterKind::kSpace;
    } else if (IsPunctuation(c)) {
      table.kinds[c] = CharacterKind::kPunctuation;
    } else {
      table.kinds[c] = CharacterKind::kLetter;
      const bool upper = c >= 'A' && c <= 'Z';
      table.letters[c] = static_cast<char>(upper && lowercase ? c + ('a' - 'A') : c);
    }
  }
  return table;
}

}  // namespace

const AsciiTable& AsciiTableFor(bool lowercase) {
  static const std::array<AsciiTable, 2> tables = {MakeAsciiTable(false), MakeAsciiTable(true)};
  return tables[lowercase ? 1 : 0];
}

}  // namespace bert::text
