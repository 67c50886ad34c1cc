// The tokens of a WordPiece vocabulary and their ids.
#ifndef BERT_DATALOADER_TEXT_VOCABULARY_H_
#define BERT_DATALOADER_TEXT_VOCABULARY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataloader/text/vocabulary_trie.h"

namespace bert::text {

inline constexpr std::string_view kContinuationPrefix = "##";

// In the order in which a vocabulary trained here numbers them, from 0.
inline constexpr std::array<std::string_view, 5> kSpecialTokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

struct SpecialIds {
  uint32_t pad = 0;
  uint32_t unk = 0;
  uint32_t cls = 0;
  uint32_t sep = 0;
  uint32_t mask = 0;
};

// Immutable; safe to share between threads. Movable, not copyable: it is large.
class Vocabulary {
 public:
  // `tokens[id]`. INVALID_ARGUMENT, naming the line that vocab.txt would have, when a token is empty, occurs twice, is
  // not UTF-8 or holds a line break, or when a special token is missing.
  static absl::StatusOr<Vocabulary> FromTokens(std::vector<std::string> tokens);
  // vocab.txt: a token a line, ids from 0. Errors as FromTokens with the path in front, and those of ReadFile.
  static absl::StatusOr<Vocabulary> Load(const std::string& path);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  size_t size() const { return tokens_.size(); }
  // The whole token, "##" included. `id` must be below size().
  const std::string& Token(uint32_t id) const;
  std::optional<uint32_t> Id(std::string_view token) const;
  const SpecialIds& special() const { return special_; }
  bool IsSpecial(uint32_t id) const;
  // Whether the token goes on with the word before it. `id` must be below size().
  bool IsContinuation(uint32_t id) const;

  // The longest token that `text` begins with (`word_start`: one without "##", else one with, compared without it).
  // `text` must be well-formed UTF-8; so is the match then. No match has no bytes.
  VocabularyTrie::Match LongestPrefix(std::string_view text, bool word_start) const {
    const VocabularyTrie::Node from = word_start ? VocabularyTrie::kRoot : continuations_;
    if (from == VocabularyTrie::kNoNode) return {VocabularyTrie::kNoId, 0};
    return trie_.Longest(from, text);
  }

  // The content of vocab.txt.
  std::string ToText() const;

 private:
  Vocabulary() = default;

  // From tokens_, whose elements must be good ones.
  absl::Status BuildTrie();

  std::vector<std::string> tokens_;
  // Continuations are under a byte that is in no UTF-8, without their prefix.
  VocabularyTrie trie_;
  VocabularyTrie::Node continuations_ = VocabularyTrie::kNoNode;
  SpecialIds special_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_VOCABULARY_H_
