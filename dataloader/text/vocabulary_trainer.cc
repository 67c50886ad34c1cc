#include "dataloader/text/vocabulary_trainer.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "dataloader/text/byte_level.h"
#include "dataloader/text/pair_order.h"
#include "dataloader/text/pretokenizer.h"
#include "dataloader/text/unicode.h"
#include "dataloader/text/vocabulary.h"
#include "dataloader/text/word_scanner.h"

namespace bert::text {
namespace {

constexpr size_t kTokensPerProgress = 128;

bool IsWordPiece(VocabularyKind kind) {
  return kind == VocabularyKind::kWordPiece || kind == VocabularyKind::kWordPieceByScore;
}

WordCounter::Splitter SplitterOf(const VocabularyTrainerOptions& options) {
  if (options.kind == VocabularyKind::kByteLevelBpe) {
    return [](std::string_view text, std::string* scratch, absl::FunctionRef<void(std::string_view)> word) {
      // As the tokenizer does it, so that a document's first word is like any other.
      if (!text.starts_with(' ')) text = scratch->assign(" ").append(text);
      ForEachByteLevelPiece(text, word);
    };
  }
  if (IsWordPiece(options.kind)) {
    return [normalizer = BertNormalizer(options.normalizer)](std::string_view text, std::string*,
                                                             absl::FunctionRef<void(std::string_view)> word) {
      WordScanner<false> scanner(normalizer);
      // The tokenizer makes those that are too long [UNK], whatever the vocabulary is.
      scanner.Scan(text, [&](const ScannedWord& scanned) {
        if (!scanned.too_long) word(scanned.text);
      });
    };
  }
  return [normalizer = BertNormalizer(options.normalizer)](std::string_view text, std::string* scratch,
                                                           absl::FunctionRef<void(std::string_view)> word) {
    normalizer.Normalize(text, scratch);
    ForEachWord(*scratch, word);
  };
}

// Calls `character` with each code point of a word, as UTF-8.
void ForEachCharacter(std::string_view word, absl::FunctionRef<void(std::string_view)> character) {
  for (size_t offset = 0; offset < word.size();) {
    const size_t begin = offset;
    DecodeUtf8(word, &offset);
    character(word.substr(begin, offset - begin));
  }
}

// The state of one training run.
class Learner {
 public:
  Learner(const VocabularyTrainerOptions& options, const WordCounter::Counts& words)
      : options_(options), words_(words) {
    for (const std::string_view token : kSpecialTokens) AddToken(std::string(token));
  }

  void AddAlphabet() {
    if (options_.kind == VocabularyKind::kByteLevelBpe) {
      AddBytes();
      for (const auto& [word, count] : words_) AddWordOfBytes(word, count);
    } else {
      AddCharacters();
      for (const auto& [word, count] : words_) AddWord(word, count);
    }
  }

  size_t tokens() const { return tokens_.size(); }
  size_t alphabet() const { return alphabet_; }

  void Merge() {
    table_.CountPairs();
    const std::unique_ptr<PairOrder> order = options_.kind == VocabularyKind::kWordPieceByScore
                                                 ? OrderByScore(table_, options_.min_frequency)
                                                 : OrderByFrequency(table_, options_.min_frequency);
    std::vector<uint32_t> changed;
    while (tokens_.size() < options_.vocab_size) {
      const std::optional<uint32_t> best = order->Best();
      if (!best) break;
      const TokenPair pair = table_.pair(*best);
      const uint32_t merged = AddToken(Joined(pair));
      table_.Merge(*best, merged, &changed);
      order->Merged(pair, merged, changed);
      merges_.push_back(pair);
      if (options_.progress && tokens_.size() % kTokensPerProgress == 0) options_.progress(tokens_.size());
    }
    if (options_.progress) options_.progress(tokens_.size());
  }

  TrainedVocabulary Take() { return {.tokens = std::move(tokens_), .merges = std::move(merges_)}; }

 private:
  struct Character {
    // Ids of the character alone, and of its form inside ("##x") or at the end ("x</w>") of words.
    uint32_t plain = 0;
    uint32_t form = 0;
    bool has_form = false;
  };

  // Whether a character at this place of its word has its other form.
  bool TakesForm(bool first, bool last) const { return IsWordPiece(options_.kind) ? !first : last; }

  std::string Form(std::string_view character) const {
    return IsWordPiece(options_.kind) ? std::string(kContinuationPrefix).append(character)
                                      : std::string(character).append(kEndOfWordSuffix);
  }

  std::string Joined(TokenPair pair) const {
    const size_t skipped = IsWordPiece(options_.kind) ? kContinuationPrefix.size() : 0;
    return std::string(tokens_[pair.first]).append(tokens_[pair.second], skipped);
  }

  // The id of the token, which may be there already: the same string may come from other parts.
  uint32_t AddToken(std::string token) {
    const auto [entry, added] = ids_.emplace(std::move(token), static_cast<uint32_t>(tokens_.size()));
    if (added) tokens_.push_back(entry->first);
    return entry->second;
  }

  void AddBytes() {
    std::vector<std::pair<char32_t, uint8_t>> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      bytes.emplace_back(CharacterOfByte(static_cast<uint8_t>(byte)), static_cast<uint8_t>(byte));
    }
    std::sort(bytes.begin(), bytes.end());
    for (const auto& [character, byte] : bytes) {
      std::string token;
      AppendUtf8(character, &token);
      byte_ids_[byte] = AddToken(std::move(token));
    }
    alphabet_ = bytes.size();
  }

  void AddWordOfBytes(std::string_view word, uint64_t count) {
    std::vector<uint32_t> ids;
    for (const char byte : word) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
    table_.AddWord(ids, count);
  }

  // The most frequent characters and the forms that occur, in the order of their code points, which is that of UTF-8.
  void AddCharacters() {
    absl::flat_hash_map<std::string_view, uint64_t> counts;
    for (const auto& [word, count] : words_) {
      ForEachCharacter(word, [&, count = count](std::string_view character) { counts[character] += count; });
    }
    std::vector<std::pair<std::string_view, uint64_t>> sorted(counts.begin(), counts.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    if (sorted.size() > options_.alphabet_limit) sorted.resize(options_.alphabet_limit);
    std::sort(sorted.begin(), sorted.end());
    alphabet_ = sorted.size();
    for (const auto& [character, count] : sorted) characters_[character].plain = AddToken(std::string(character));
    for (const auto& [word, count] : words_) MarkForms(word);
    for (const auto& [character, count] : sorted) {
      Character& entry = characters_[character];
      if (entry.has_form) entry.form = AddToken(Form(character));
    }
  }

  // WordPiece makes one token of a word with an unknown character.
  bool IsLearnedFrom(std::string_view word) const {
    if (!IsWordPiece(options_.kind)) return true;
    bool known = true;
    ForEachCharacter(word, [&](std::string_view character) { known = known && characters_.contains(character); });
    return known;
  }

  void MarkForms(std::string_view word) {
    if (!IsLearnedFrom(word)) return;
    size_t offset = 0;
    ForEachCharacter(word, [&](std::string_view character) {
      const bool first = offset == 0;
      offset += character.size();
      if (!TakesForm(first, offset == word.size())) return;
      if (const auto found = characters_.find(character); found != characters_.end()) found->second.has_form = true;
    });
  }

  void AddWord(std::string_view word, uint64_t count) {
    if (!IsLearnedFrom(word)) return;
    std::vector<uint32_t> ids;
    size_t offset = 0;
    ForEachCharacter(word, [&](std::string_view character) {
      const bool first = offset == 0;
      offset += character.size();
      const auto found = characters_.find(character);
      if (found == characters_.end()) {
        table_.AddWord(ids, count);
        ids.clear();
        return;
      }
      ids.push_back(TakesForm(first, offset == word.size()) ? found->second.form : found->second.plain);
    });
    table_.AddWord(ids, count);
  }

  const VocabularyTrainerOptions& options_;
  const WordCounter::Counts& words_;
  std::vector<std::string> tokens_;
  absl::flat_hash_map<std::string, uint32_t> ids_;
  size_t alphabet_ = 0;
  absl::flat_hash_map<std::string_view, Character> characters_;
  std::array<uint32_t, 256> byte_ids_ = {};
  PairTable table_;
  std::vector<TokenPair> merges_;
};

}  // namespace

VocabularyTrainer::VocabularyTrainer(const VocabularyTrainerOptions& options)
    : options_(options), counter_(SplitterOf(options), options.threads) {}

void VocabularyTrainer::AddText(std::string text) { counter_.Add(std::move(text)); }

absl::StatusOr<TrainedVocabulary> VocabularyTrainer::Train() {
  const WordCounter::Counts& words = counter_.Finish();
  distinct_words_ = words.size();
  if (words.empty()) return absl::InvalidArgumentError("the text has no words to learn a vocabulary from");
  Learner learner(options_, words);
  learner.AddAlphabet();
  if (learner.tokens() > options_.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary of ", options_.vocab_size, " does not hold ", kSpecialTokens.size(),
                     " special tokens and an alphabet of ", learner.alphabet(),
                     " characters with their forms inside words; ask for a larger vocabulary or a smaller alphabet"));
  }
  learner.Merge();
  return learner.Take();
}

}  // namespace bert::text
