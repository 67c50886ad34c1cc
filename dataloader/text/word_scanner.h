// Text straight to normalised words, in one pass.
#ifndef BERT_DATALOADER_TEXT_WORD_SCANNER_H_
#define BERT_DATALOADER_TEXT_WORD_SCANNER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "dataloader/text/character_table.h"
#include "dataloader/text/normalizer.h"
#include "dataloader/text/pretokenizer.h"
#include "dataloader/text/unicode.h"

namespace bert::text {

// A longer word is [UNK] at once. Counted in code points of the normalised word.
inline constexpr size_t kWordCodePointsMax = 100;

// Lives as long as the call that it is given to.
struct ScannedWord {
  // Normalised. Only a part of the word where it is too long.
  std::string_view text;
  bool too_long = false;
  // With sources: what of the scanned text the word stands for, and each byte of `text` (see BertNormalizer).
  ByteSpan span = {};
  const ByteSpan* sources = nullptr;
};

// What the normaliser and the pre-tokeniser make of the bytes below 0x80.
struct AsciiTable {
  // The byte that a letter or digit becomes; 0 for all others.
  std::array<char, 256> letters{};
  std::array<CharacterKind, 128> kinds{};
};
const AsciiTable& AsciiTableFor(bool lowercase);

// The words that ForEachWord finds in what BertNormalizer makes of a text, without making it: ASCII goes by one table
// and the rest by another, and the bytes of one word at most are kept. The few code points whose treatment depends on
// their neighbours send the text between two ASCII separators to the normaliser itself.
// Scratch space for one thread; cheap to make.
template <bool kSources>
class WordScanner {
 public:
  // `normalizer` must outlive this.
  explicit WordScanner(const BertNormalizer& normalizer)
      : normalizer_(normalizer),
        characters_(CharacterTableFor(normalizer.strip_accents(), normalizer.options().lowercase)),
        ascii_(AsciiTableFor(normalizer.options().lowercase)),
        split_ideographs_(normalizer.options().handle_chinese_chars) {}

  // Calls visit(const ScannedWord&) with each word in order.
  template <typename Visit>
  void Scan(std::string_view text, Visit&& visit) {
    size_t at = 0;
    // Where the text of the word began that is being gathered.
    size_t word_begin = 0;
    while (at < text.size()) {
      const auto byte = static_cast<uint8_t>(text[at]);
      if (const char letter = ascii_.letters[byte]; letter != 0) {
        Append(&letter, 1, {at, at + 1});
        ++at;
        continue;
      }
      const size_t begin = at;
      CharacterEntry entry(0);
      CharacterKind kind;
      if (byte < 0x80) {
        kind = ascii_.kinds[byte];
        ++at;
      } else {
        const char32_t c = DecodeUtf8(text, &at);
        entry = characters_.Entry(c);
        kind = entry.kind();
        if (kind == CharacterKind::kHangulSyllable) {
          std::array<char, 9> jamo;
          Append(jamo.data(), DecomposeHangul(c, &jamo), {begin, at});
          continue;
        }
      }
      if (kind == CharacterKind::kLetter || (kind == CharacterKind::kIdeograph && !split_ideographs_)) {
        AppendEntry(entry, text, {begin, at});
      } else if (kind == CharacterKind::kContextual) {
        size_ = 0;
        overflown_ = false;
        at = SeparatorAfter(text, at);
        ScanContextual(text.substr(word_begin, at - word_begin), word_begin, visit);
        word_begin = at;
      } else if (kind != CharacterKind::kDropped) {
        EndWord(visit);
        if (kind != CharacterKind::kSpace) {
          AppendEntry(entry, text, {begin, at});
          EndWord(visit);
        }
        word_begin = at;
      }
    }
    EndWord(visit);
  }

 private:
  static constexpr size_t kBytesMax = 4 * kWordCodePointsMax;

  void AppendEntry(CharacterEntry entry, std::string_view text, ByteSpan source) {
    const size_t length = entry.length();
    if (length == 0) {
      Append(text.data() + source.begin, source.end - source.begin, source);
    } else if (length > CharacterEntry::kInlineBytes) {
      Append(characters_.Pooled(entry).data(), length, source);
    } else {
      const uint32_t payload = entry.payload();
      const std::array<char, CharacterEntry::kInlineBytes> bytes = {static_cast<char>(payload & 0xFF),
                                                                    static_cast<char>((payload >> 8) & 0xFF),
                                                                    static_cast<char>(payload >> 16)};
      Append(bytes.data(), length, source);
    }
  }

  void Append(const char* bytes, size_t length, ByteSpan source) {
    if constexpr (kSources) source_end_ = source.end;
    // More bytes are more than kWordCodePointsMax code points.
    if (size_ + length > kBytesMax) {
      overflown_ = true;
      return;
    }
    for (size_t i = 0; i < length; ++i) {
      bytes_[size_ + i] = bytes[i];
      if constexpr (kSources) sources_[size_ + i] = source;
    }
    size_ += length;
  }

  template <typename Visit>
  void EndWord(Visit&& visit) {
    if (size_ == 0) return;
    ScannedWord word{.text = std::string_view(bytes_.data(), size_), .too_long = overflown_};
    if (size_ > kWordCodePointsMax && !overflown_) word.too_long = CountCodePoints(word.text) > kWordCodePointsMax;
    if constexpr (kSources) {
      word.span = {sources_[0].begin, source_end_};
      word.sources = sources_.data();
    }
    visit(static_cast<const ScannedWord&>(word));
    size_ = 0;
    overflown_ = false;
  }

  // Where the next ASCII space or punctuation is: nothing before it depends on anything behind it.
  size_t SeparatorAfter(std::string_view text, size_t at) const {
    for (; at < text.size(); ++at) {
      const auto byte = static_cast<uint8_t>(text[at]);
      if (byte >= 0x80) continue;
      const CharacterKind kind = ascii_.kinds[byte];
      if (kind == CharacterKind::kSpace || kind == CharacterKind::kPunctuation) break;
    }
    return at;
  }

  template <typename Visit>
  void ScanContextual(std::string_view text, size_t offset, Visit&& visit) {
    std::vector<ByteSpan> sources;
    if constexpr (kSources) {
      normalizer_.Normalize(text, &normalized_, &sources);
      for (ByteSpan& source : sources) source = {source.begin + offset, source.end + offset};
    } else {
      normalizer_.Normalize(text, &normalized_);
    }
    ForEachWord(normalized_, [&](std::string_view word_text) {
      ScannedWord word{.text = word_text};
      word.too_long = word_text.size() > kWordCodePointsMax && CountCodePoints(word_text) > kWordCodePointsMax;
      if constexpr (kSources) {
        word.sources = sources.data() + (word_text.data() - normalized_.data());
        word.span = {word.sources[0].begin, word.sources[word_text.size() - 1].end};
      }
      visit(static_cast<const ScannedWord&>(word));
    });
  }

  const BertNormalizer& normalizer_;
  const CharacterTable& characters_;
  const AsciiTable& ascii_;
  const bool split_ideographs_;

  // The word being gathered; what does not fit has made it too long.
  std::array<char, kBytesMax> bytes_;
  size_t size_ = 0;
  bool overflown_ = false;
  // With sources, what bytes_ stands for, and the end of the last that was appended.
  std::array<ByteSpan, kSources ? kBytesMax : 0> sources_;
  size_t source_end_ = 0;
  std::string normalized_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_WORD_SCANNER_H_
