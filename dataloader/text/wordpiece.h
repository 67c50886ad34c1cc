// Text to token ids and back, with the ids that Hugging Face's BertTokenizerFast gives.
#ifndef BERT_DATALOADER_TEXT_WORDPIECE_H_
#define BERT_DATALOADER_TEXT_WORDPIECE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "dataloader/text/normalizer.h"
#include "dataloader/text/tokenizer.h"
#include "dataloader/text/vocabulary.h"
#include "dataloader/text/word_scanner.h"

namespace bert::text {

// What a model is given: [CLS] first [SEP], and then second [SEP] where there is a second text. All of one length.
struct ModelInput {
  std::vector<uint32_t> ids;
  // 0 for the first text and its special tokens, 1 for the second and its [SEP].
  std::vector<uint32_t> type_ids;
  // Bytes of the text of that type; {0, 0} for the special tokens around the texts.
  std::vector<ByteSpan> spans;
};

// Normalises, cuts into words, and each word greedily into the longest tokens of the vocabulary; a word that does not
// come out even is one [UNK]. Immutable; safe to share between threads. Movable.
class WordPieceTokenizer final : public Tokenizer {
 public:
  WordPieceTokenizer(Vocabulary vocabulary, const NormalizerOptions& options);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const NormalizerOptions& options() const { return normalizer_.options(); }

  std::string_view type() const override { return "wordpiece"; }
  size_t size() const override { return vocabulary_.size(); }
  const std::string& Token(uint32_t id) const override { return vocabulary_.Token(id); }
  const SpecialIds& special() const override { return vocabulary_.special(); }
  bool lowercase() const override { return options().lowercase; }
  bool ContinuesWord(uint32_t id) const override { return vocabulary_.IsContinuation(id); }
  bool EndsWord(uint32_t) const override { return false; }

  // Appends the ids of `text` to `*ids`, without [CLS] and [SEP]. Bytes that are not UTF-8 are left out.
  void Encode(std::string_view text, std::vector<uint32_t>* ids,
              SpecialTokenText special = SpecialTokenText::kIsToken) const override;

  // As Encode; `*spans` also gets what of `text` each of the ids stands for, in bytes. A special token's span is its
  // name's, an [UNK]'s the whole word's. Accents and other characters that normalisation leaves out belong to no token
  // unless they are inside of one.
  void EncodeWithOffsets(std::string_view text, std::vector<uint32_t>* ids, std::vector<ByteSpan>* spans,
                         SpecialTokenText special = SpecialTokenText::kIsToken) const;

  // What BertTokenizerFast makes of a text or a pair of texts by default: ids, token type ids and offsets.
  ModelInput EncodeForModel(std::string_view first, std::optional<std::string_view> second = std::nullopt,
                            SpecialTokenText special = SpecialTokenText::kIsToken) const;

  // The text, as far as ids still tell: pieces joined, a space between words, none before closing punctuation, and
  // English contractions closed up, as Hugging Face's WordPiece decoder does it. Every id must be in the vocabulary.
  std::string Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens = true) const override;

 private:
  template <bool kSpans>
  void EncodeAll(std::string_view text, SpecialTokenText special, std::vector<uint32_t>* ids,
                 std::vector<ByteSpan>* spans) const;
  // The word's spans are relative to `offset`.
  template <bool kSpans>
  void EncodeWord(const ScannedWord& word, size_t offset, std::vector<uint32_t>* ids,
                  std::vector<ByteSpan>* spans) const;

  BertNormalizer normalizer_;
  Vocabulary vocabulary_;
};

// `spans` of well-formed `text` counted in code points, as Hugging Face's offsets are. One pass over the text, and a
// further one each time that begins or ends decrease from one span to the next; EncodeWithOffsets' do not.
std::vector<ByteSpan> CodePointSpans(std::string_view text, absl::Span<const ByteSpan> spans);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_WORDPIECE_H_
