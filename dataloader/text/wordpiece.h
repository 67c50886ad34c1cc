// Text to token ids and back, with the ids that Hugging Face's BertTokenizerFast gives.
#ifndef BERT_DATALOADER_TEXT_WORDPIECE_H_
#define BERT_DATALOADER_TEXT_WORDPIECE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "dataloader/text/normalizer.h"
#include "dataloader/text/vocabulary.h"

namespace bert::text {

// A longer word is [UNK] at once. Counted in code points of the normalised word.
inline constexpr size_t kWordCodePointsMax = 100;

// What a special token's name written in the text is, such as "[MASK]".
enum class SpecialTokenText {
  // That token: BertTokenizerFast's default. For prompts.
  kIsToken,
  // Five characters like any others: its split_special_tokens=True. For corpora, which must not write control tokens.
  kIsText,
};

// Normalises, cuts into words, and each word greedily into the longest tokens of the vocabulary; a word that does not
// come out even is one [UNK]. Immutable; safe to share between threads. Movable.
class WordPieceTokenizer {
 public:
  WordPieceTokenizer(Vocabulary vocabulary, const NormalizerOptions& options);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const NormalizerOptions& options() const { return normalizer_.options(); }

  // Appends the ids of `text` to `*ids`, without [CLS] and [SEP]. Bytes that are not UTF-8 are left out.
  void Encode(std::string_view text, std::vector<uint32_t>* ids,
              SpecialTokenText special = SpecialTokenText::kIsToken) const;

  // The text, as far as ids still tell: pieces joined, a space between words, none before closing punctuation, and
  // English contractions closed up, as Hugging Face's WordPiece decoder does it. Every id must be in the vocabulary.
  std::string Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens = true) const;

 private:
  void EncodePlain(std::string_view text, std::string* scratch, std::vector<uint32_t>* ids) const;
  void EncodeWord(std::string_view word, std::vector<uint32_t>* ids) const;

  BertNormalizer normalizer_;
  Vocabulary vocabulary_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_WORDPIECE_H_
