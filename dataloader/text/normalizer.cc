#include "dataloader/text/normalizer.h"

#include <algorithm>
#include <cstdint>

#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

// Steps 3 and 4 for a stream of code points. Marks wait until the next starter, because canonical order is by class.
class Emitter {
 public:
  Emitter(bool strip_accents, bool lowercase, std::string* out, std::vector<ByteSpan>* sources)
      : strip_accents_(strip_accents), lowercase_(lowercase), out_(out), sources_(sources) {}

  // `c` is below U+0080: nothing to decompose, and never a mark.
  void AddAscii(char c, ByteSpan source) {
    FlushMarks();
    source_ = source;
    out_->push_back(lowercase_ && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c);
    RecordSource();
  }

  void Add(char32_t c, ByteSpan source) {
    if (!strip_accents_) {
      source_ = source;
      Write(c);
      return;
    }
    decomposed_.clear();
    AppendDecomposed(c, &decomposed_);
    bool first = true;
    for (const char32_t part : decomposed_) {
      const int combining_class = CombiningClass(part);
      if (combining_class != 0) {
        marks_.push_back({part, combining_class, first});
        if (first) waiting_sources_.push_back(source);
      } else {
        FlushMarks();
        source_ = source;
        Write(part);
      }
      first = false;
    }
  }

  // The first parts of code points take the sources in their order, whichever code point they are now; the other parts
  // share what the part before them has.
  void FlushMarks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    auto source = waiting_sources_.begin();
    for (const Mark& mark : marks_) {
      if (mark.first) source_ = *source++;
      Write(mark.c);
    }
    marks_.clear();
    waiting_sources_.clear();
  }

 private:
  struct Mark {
    char32_t c;
    int combining_class;
    // Of its code point's decomposition.
    bool first;
  };

  void Write(char32_t c) {
    if (strip_accents_ && IsNonspacingMark(c)) return;
    if (lowercase_) {
      AppendLowercaseUtf8(c, out_);
    } else {
      AppendUtf8(c, out_);
    }
    RecordSource();
  }

  void RecordSource() {
    if (sources_ != nullptr) sources_->resize(out_->size(), source_);
  }

  const bool strip_accents_;
  const bool lowercase_;
  std::string* const out_;
  std::vector<ByteSpan>* const sources_;
  std::u32string decomposed_;
  std::vector<Mark> marks_;
  std::vector<ByteSpan> waiting_sources_;
  ByteSpan source_;
};

}  // namespace

BertNormalizer::BertNormalizer(const NormalizerOptions& options)
    : options_(options), strip_accents_(options.strip_accents.value_or(options.lowercase)) {}

void BertNormalizer::Normalize(std::string_view text, std::string* out) const { NormalizeInto(text, out, nullptr); }

void BertNormalizer::Normalize(std::string_view text, std::string* out, std::vector<ByteSpan>* sources) const {
  sources->clear();
  NormalizeInto(text, out, sources);
}

void BertNormalizer::NormalizeInto(std::string_view text, std::string* out, std::vector<ByteSpan>* sources) const {
  out->clear();
  out->reserve(text.size() + text.size() / 8);
  Emitter emitter(strip_accents_, options_.lowercase, out, sources);
  size_t offset = 0;
  while (offset < text.size()) {
    const size_t begin = offset;
    const char32_t c = DecodeUtf8(text, &offset);
    const ByteSpan source{begin, offset};
    if (c == kReplacementCharacter || IsControl(c)) continue;
    if (IsWhitespace(c)) {
      emitter.AddAscii(' ', source);
    } else if (c < 0x80) {
      emitter.AddAscii(static_cast<char>(c), source);
    } else if (options_.handle_chinese_chars && IsChinese(c)) {
      emitter.AddAscii(' ', source);
      emitter.Add(c, source);
      emitter.AddAscii(' ', source);
    } else {
      emitter.Add(c, source);
    }
  }
  emitter.FlushMarks();
}

}  // namespace bert::text
