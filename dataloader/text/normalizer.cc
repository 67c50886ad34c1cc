#include "dataloader/text/normalizer.h"

#include <algorithm>
#include <cstdint>

#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

// Steps 3 and 4 for a stream of code points. Marks wait until the next starter, because canonical order is by class.
class Emitter {
 public:
  Emitter(bool strip_accents, bool lowercase, std::string* out)
      : strip_accents_(strip_accents), lowercase_(lowercase), out_(out) {}

  // `c` is below U+0080: nothing to decompose, and never a mark.
  void AddAscii(char c) {
    FlushMarks();
    out_->push_back(lowercase_ && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c);
  }

  void Add(char32_t c) {
    if (!strip_accents_) {
      Write(c);
      return;
    }
    decomposed_.clear();
    AppendDecomposed(c, &decomposed_);
    for (const char32_t part : decomposed_) {
      if (CombiningClass(part) != 0) {
        marks_.push_back(part);
      } else {
        FlushMarks();
        Write(part);
      }
    }
  }

  void FlushMarks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](char32_t a, char32_t b) { return CombiningClass(a) < CombiningClass(b); });
    for (const char32_t mark : marks_) Write(mark);
    marks_.clear();
  }

 private:
  void Write(char32_t c) {
    if (strip_accents_ && IsNonspacingMark(c)) return;
    if (lowercase_) {
      AppendLowercaseUtf8(c, out_);
    } else {
      AppendUtf8(c, out_);
    }
  }

  const bool strip_accents_;
  const bool lowercase_;
  std::string* const out_;
  std::u32string decomposed_;
  std::u32string marks_;
};

}  // namespace

BertNormalizer::BertNormalizer(const NormalizerOptions& options)
    : options_(options), strip_accents_(options.strip_accents.value_or(options.lowercase)) {}

void BertNormalizer::Normalize(std::string_view text, std::string* out) const {
  out->clear();
  out->reserve(text.size() + text.size() / 8);
  Emitter emitter(strip_accents_, options_.lowercase, out);
  size_t offset = 0;
  while (offset < text.size()) {
    const auto byte = static_cast<uint8_t>(text[offset]);
    if (byte < 0x80) {
      ++offset;
      if (byte > ' ' && byte != 0x7F) {
        emitter.AddAscii(static_cast<char>(byte));
      } else if (!IsControl(byte)) {
        emitter.AddAscii(' ');
      }
      continue;
    }
    const char32_t c = DecodeUtf8(text, &offset);
    if (c == kReplacementCharacter || IsControl(c)) continue;
    if (IsWhitespace(c)) {
      emitter.AddAscii(' ');
    } else if (options_.handle_chinese_chars && IsChinese(c)) {
      emitter.AddAscii(' ');
      emitter.Add(c);
      emitter.AddAscii(' ');
    } else {
      emitter.Add(c);
    }
  }
  emitter.FlushMarks();
}

}  // namespace bert::text
