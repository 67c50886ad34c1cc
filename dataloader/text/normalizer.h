// BERT's text normalisation, as Hugging Face's BertNormalizer does it.
#ifndef BERT_DATALOADER_TEXT_NORMALIZER_H_
#define BERT_DATALOADER_TEXT_NORMALIZER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bert::text {

struct NormalizerOptions {
  bool lowercase = true;
  // Unset: as `lowercase`, like the original.
  std::optional<bool> strip_accents = std::nullopt;
  // Spaces around ideographs, so that each becomes a word.
  bool handle_chinese_chars = true;

  bool operator==(const NormalizerOptions&) const = default;
};

// Bytes of a text, from `begin` to before `end`.
struct ByteSpan {
  size_t begin = 0;
  size_t end = 0;

  bool operator==(const ByteSpan&) const = default;
};

// In this order:
//   1. NUL, U+FFFD, control, format and private-use characters go; every white space becomes U+0020;
//   2. ideographs get spaces around them;
//   3. stripping accents: canonical decomposition, then nonspacing marks go;
//   4. lowercase, code point by code point.
// A joiner inside a word therefore vanishes and joins its sides. Without accent stripping nothing is decomposed.
// This is the definition, a step after the other; dataloader/text/word_scanner.h gives the same words many times
// faster. Immutable; safe to share between threads.
class BertNormalizer {
 public:
  explicit BertNormalizer(const NormalizerOptions& options);

  const NormalizerOptions& options() const { return options_; }
  bool strip_accents() const { return strip_accents_; }

  // Replaces `*out`, which is well-formed UTF-8 whatever `text` was (bad bytes count as U+FFFD), and whose only white
  // space is U+0020. `*out` must not alias `text`.
  void Normalize(std::string_view text, std::string* out) const;

  // As above; `*sources` becomes, for each byte of `*out`, the code point of `text` that it is counted to. Marks that
  // were reordered stand, like in Hugging Face's alignments, for the places in the order of the text.
  void Normalize(std::string_view text, std::string* out, std::vector<ByteSpan>* sources) const;

 private:
  void NormalizeInto(std::string_view text, std::string* out, std::vector<ByteSpan>* sources) const;

  NormalizerOptions options_;
  bool strip_accents_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_NORMALIZER_H_
