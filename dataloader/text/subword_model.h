// Words to tokens: the models that a tokenizer.json can hold.
#ifndef BERT_DATALOADER_TEXT_SUBWORD_MODEL_H_
#define BERT_DATALOADER_TEXT_SUBWORD_MODEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace bert::text {

// A token of a vocabulary; its id is its place there.
struct VocabularyToken {
  std::string content = {};
  // Whether it is in the model's vocabulary, and not an added token alone.
  bool in_model = true;
};

// Finds the ids of a model's tokens. Immutable.
class TokenTable {
 public:
  // Of distinct tokens, which outlive the table.
  explicit TokenTable(const std::vector<VocabularyToken>& tokens);

  std::optional<uint32_t> Id(std::string_view token) const;

 private:
  absl::flat_hash_map<std::string_view, uint32_t> ids_;
};

// Byte-pair encoding: the characters of a word, then the merge that was learned first, at its leftmost place, again and
// again (Sennrich et al. 2016). With what Hugging Face's BPE adds to it. Immutable.
class BpeModel {
 public:
  struct Options {
    // What a character outside the vocabulary becomes; without, it is left out.
    std::optional<std::string> unk_token = std::nullopt;
    // Before every character of a word but the first; left out of what is merged.
    std::optional<std::string> continuing_subword_prefix = std::nullopt;
    // Behind the last character of a word.
    std::optional<std::string> end_of_word_suffix = std::nullopt;
    // Several unknown characters in a row are one unk_token.
    bool fuse_unk = false;
    // Unknown characters become tokens such as "<0xE2>", one a byte, if all of them are there.
    bool byte_fallback = false;
    // A word that is a token is that token, whatever the merges make of it.
    bool ignore_merges = false;
  };
  using Merges = std::vector<std::pair<std::string, std::string>>;

  // INVALID_ARGUMENT names the merge whose parts or result are not in `tokens`, or an unk_token that is not there.
  // `tokens` outlives the model.
  static absl::StatusOr<BpeModel> Create(const TokenTable& tokens, const Merges& merges, Options options);

  const Options& options() const { return options_; }
  // The parts of each merge, in order.
  const std::vector<std::pair<uint32_t, uint32_t>>& merges() const { return merges_; }

  // Appends the ids of one word, which must be well-formed UTF-8.
  void Encode(std::string_view word, std::vector<uint32_t>* ids) const;

 private:
  struct Merge {
    uint32_t rank;
    uint32_t result;
  };
  struct Symbol {
    uint32_t id;
    int32_t previous;
    int32_t next;
    bool removed;
  };

  BpeModel(const TokenTable& tokens, Options options) : tokens_(&tokens), options_(std::move(options)) {}

  // The characters of the word.
  void Split(std::string_view word, std::vector<Symbol>* symbols) const;
  std::optional<uint32_t> CharacterId(std::string_view character, bool first, bool last) const;
  void MergeAll(std::vector<Symbol>* symbols) const;
  const Merge* Find(uint32_t first, uint32_t second) const;

  const TokenTable* tokens_;
  Options options_;
  uint32_t unk_ = 0;
  std::vector<std::pair<uint32_t, uint32_t>> merges_;
  absl::flat_hash_map<uint64_t, Merge> by_pair_;
};

// WordPiece as in wordpiece.h, for vocabularies whose options that one does not have. Immutable.
class WordPieceModel {
 public:
  struct Options {
    std::string unk_token = "[UNK]";
    std::string continuing_subword_prefix = "##";
    // In code points; a longer word is unk_token.
    size_t max_input_chars_per_word = 100;
  };

  // INVALID_ARGUMENT: unk_token is not in `tokens`, which outlives the model.
  static absl::StatusOr<WordPieceModel> Create(const TokenTable& tokens, Options options);

  const Options& options() const { return options_; }
  // Appends the ids of one word, which must be well-formed UTF-8.
  void Encode(std::string_view word, std::vector<uint32_t>* ids) const;

 private:
  WordPieceModel(const TokenTable& tokens, Options options) : tokens_(&tokens), options_(std::move(options)) {}

  const TokenTable* tokens_;
  Options options_;
  uint32_t unk_ = 0;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_SUBWORD_MODEL_H_
