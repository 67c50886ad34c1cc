#include "dataloader/text/pretokenizer.h"

#include <cstddef>

#include "dataloader/text/unicode.h"

namespace bert::text {

void ForEachWord(std::string_view normalized, absl::FunctionRef<void(std::string_view)> word) {
  size_t word_begin = 0;
  size_t offset = 0;
  const auto end_word = [&](size_t end) {
    if (end > word_begin) word(normalized.substr(word_begin, end - word_begin));
  };
  while (offset < normalized.size()) {
    const size_t begin = offset;
    const char32_t c = DecodeUtf8(normalized, &offset);
    if (IsWhitespace(c)) {
      end_word(begin);
      word_begin = offset;
    } else if (IsPunctuation(c)) {
      end_word(begin);
      word(normalized.substr(begin, offset - begin));
      word_begin = offset;
    }
  }
  end_word(offset);
}

}  // namespace bert::text
