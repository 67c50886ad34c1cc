// What every tokenizer can do, whatever its kind.
#ifndef BERT_DATALOADER_TEXT_TOKENIZER_H_
#define BERT_DATALOADER_TEXT_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "dataloader/text/vocabulary.h"

namespace bert::text {

// What a special token's name written in the text is, such as "[MASK]".
enum class SpecialTokenText {
  // That token: the default of Hugging Face's tokenizers. For prompts.
  kIsToken,
  // Characters like any others: their split_special_tokens=True. For corpora, which must not write control tokens.
  kIsText,
};

// Text to token ids and back, with the ids that Hugging Face's `tokenizers` gives. Immutable; safe to share between
// threads. Ids are 0 to size() - 1.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // "wordpiece", "bpe" or "byte-level-bpe".
  virtual std::string_view type() const = 0;
  virtual size_t size() const = 0;
  // As in the vocabulary, with what marks its place in a word. `id` must be below size().
  virtual const std::string& Token(uint32_t id) const = 0;
  virtual const SpecialIds& special() const = 0;
  // Whether upper and lower case come out the same.
  virtual bool lowercase() const = 0;

  // Of two tokens side by side the second goes on with the first one's word where the first does not end a word and the
  // second continues one. `id` must be below size().
  virtual bool ContinuesWord(uint32_t id) const = 0;
  virtual bool EndsWord(uint32_t id) const = 0;

  // Appends the ids of `text` to `*ids`, without the special tokens at both ends. Bytes that are not UTF-8 are left out
  // but by byte-level tokenizers, which keep them.
  virtual void Encode(std::string_view text, std::vector<uint32_t>* ids,
                      SpecialTokenText special = SpecialTokenText::kIsToken) const = 0;

  // The text, as far as ids still tell. Every id must be below size().
  virtual std::string Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens = true) const = 0;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TOKENIZER_H_
