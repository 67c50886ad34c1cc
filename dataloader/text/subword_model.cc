#include "dataloader/text/subword_model.h"

#include <functional>
#include <queue>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

constexpr int32_t kNone = -1;

uint64_t Key(uint32_t first, uint32_t second) { return uint64_t{first} << 32 | second; }

absl::StatusOr<uint32_t> UnkId(const TokenTable& tokens, std::string_view unk_token) {
  const std::optional<uint32_t> id = tokens.Id(unk_token);
  if (id) return *id;
  return absl::InvalidArgumentError(
      absl::StrCat("model.unk_token: '", std::string(unk_token), "' is not in the vocabulary"));
}

}  // namespace

TokenTable::TokenTable(const std::vector<VocabularyToken>& tokens) {
  ids_.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].in_model) ids_.emplace(tokens[id].content, static_cast<uint32_t>(id));
  }
}

std::optional<uint32_t> TokenTable::Id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

absl::StatusOr<BpeModel> BpeModel::Create(const TokenTable& tokens, const Merges& merges, Options options) {
  BpeModel model(tokens, std::move(options));
  if (model.options_.unk_token) {
    ASSIGN_OR_RETURN(model.unk_, UnkId(tokens, *model.options_.unk_token));
  }
  const size_t skipped = model.options_.continuing_subword_prefix.value_or("").size();
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [first, second] = merges[rank];
    const auto problem = [&](absl::string_view what) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.merges[", rank, "]: '", first, "' + '", second, "' ", what));
    };
    const std::optional<uint32_t> first_id = tokens.Id(first);
    const std::optional<uint32_t> second_id = tokens.Id(second);
    if (!first_id || !second_id) return problem("are not both in the vocabulary");
    if (second.size() < skipped) return problem("has no continuing_subword_prefix to leave out");
    const std::optional<uint32_t> result = tokens.Id(absl::StrCat(first, second.substr(skipped)));
    if (!result) return problem("give a token that is not in the vocabulary");
    // A pair that is named twice counts where it comes last.
    model.by_pair_[Key(*first_id, *second_id)] = {.rank = static_cast<uint32_t>(rank), .result = *result};
    model.merges_.emplace_back(*first_id, *second_id);
  }
  return model;
}

const BpeModel::Merge* BpeModel::Find(uint32_t first, uint32_t second) const {
  const auto found = by_pair_.find(Key(first, second));
  return found == by_pair_.end() ? nullptr : &found->second;
}

std::optional<uint32_t> BpeModel::CharacterId(std::string_view character, bool first, bool last) const {
  const bool with_prefix = !first && options_.continuing_subword_prefix;
  const bool with_suffix = last && options_.end_of_word_suffix;
  if (!with_prefix && !with_suffix) return tokens_->Id(character);
  std::string token = with_prefix ? *options_.continuing_subword_prefix : "";
  token += character;
  if (with_suffix) token += *options_.end_of_word_suffix;
  return tokens_->Id(token);
}

void BpeModel::Split(std::string_view word, std::vector<Symbol>* symbols) const {
  symbols->clear();
  const auto add = [symbols](uint32_t id) {
    const auto place = static_cast<int32_t>(symbols->size());
    if (place > 0) symbols->back().next = place;
    symbols->push_back({.id = id, .previous = place - 1, .next = kNone, .removed = false});
  };
  // An unknown character is held back, because the next may be fused with it.
  bool unknown = false;
  for (size_t offset = 0; offset < word.size();) {
    const size_t begin = offset;
    DecodeUtf8(word, &offset);
    const std::string_view character = word.substr(begin, offset - begin);
    if (const auto id = CharacterId(character, begin == 0, offset == word.size())) {
      if (unknown) add(unk_);
      unknown = false;
      add(*id);
      continue;
    }
    if (options_.byte_fallback) {
      // Of the character with its marks, as there.
      std::string marked = begin > 0 ? options_.continuing_subword_prefix.value_or("") : "";
      marked += character;
      if (offset == word.size()) marked += options_.end_of_word_suffix.value_or("");
      std::vector<uint32_t> bytes;
      for (const char byte : marked) {
        const auto id = tokens_->Id(absl::StrFormat("<0x%02X>", static_cast<uint8_t>(byte)));
        if (!id) break;
        bytes.push_back(*id);
      }
      if (bytes.size() == marked.size()) {
        for (const uint32_t id : bytes) add(id);
        continue;
      }
    }
    if (!options_.unk_token) continue;
    if (unknown && !options_.fuse_unk) add(unk_);
    unknown = true;
  }
  if (unknown) add(unk_);
}

void BpeModel::MergeAll(std::vector<Symbol>* symbols) const {
  struct Candidate {
    uint32_t rank;
    int32_t place;
    uint32_t result;

    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : place > other.place;
    }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int32_t place) {
    const Symbol& symbol = (*symbols)[static_cast<size_t>(place)];
    if (symbol.next == kNone) return;
    const Merge* merge = Find(symbol.id, (*symbols)[static_cast<size_t>(symbol.next)].id);
    if (merge != nullptr) queue.push({merge->rank, place, merge->result});
  };
  for (size_t i = 0; i < symbols->size(); ++i) consider(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& symbol = (*symbols)[static_cast<size_t>(top.place)];
    if (symbol.removed || symbol.next == kNone) continue;
    Symbol& next = (*symbols)[static_cast<size_t>(symbol.next)];
    // Either side may have been merged since.
    const Merge* merge = Find(symbol.id, next.id);
    if (merge == nullptr || merge->result != top.result) continue;
    symbol.id = top.result;
    symbol.next = next.next;
    next.removed = true;
    if (symbol.next != kNone) (*symbols)[static_cast<size_t>(symbol.next)].previous = top.place;
    if (symbol.previous != kNone) consider(symbol.previous);
    consider(top.place);
  }
}

void BpeModel::Encode(std::string_view word, std::vector<uint32_t>* ids) const {
  if (options_.ignore_merges) {
    if (const auto id = tokens_->Id(word)) {
      ids->push_back(*id);
      return;
    }
  }
  std::vector<Symbol> symbols;
  Split(word, &symbols);
  MergeAll(&symbols);
  for (const Symbol& symbol : symbols) {
    if (!symbol.removed) ids->push_back(symbol.id);
  }
}

absl::StatusOr<WordPieceModel> WordPieceModel::Create(const TokenTable& tokens, Options options) {
  WordPieceModel model(tokens, std::move(options));
  ASSIGN_OR_RETURN(model.unk_, UnkId(tokens, model.options_.unk_token));
  return model;
}

void WordPieceModel::Encode(std::string_view word, std::vector<uint32_t>* ids) const {
  const size_t first = ids->size();
  size_t at = CountCodePoints(word) > options_.max_input_chars_per_word ? std::string_view::npos : 0;
  std::string candidate;
  while (at < word.size()) {
    size_t end = word.size();
    std::optional<uint32_t> id;
    for (; end > at; --end) {
      if (end < word.size() && (static_cast<uint8_t>(word[end]) & 0xC0) == 0x80) continue;
      candidate = at > 0 ? options_.continuing_subword_prefix : "";
      candidate += word.substr(at, end - at);
      if ((id = tokens_->Id(candidate))) break;
    }
    if (!id) break;
    ids->push_back(*id);
    at = end;
  }
  if (at == word.size()) return;
  ids->resize(first);
  ids->push_back(unk_);
}

}  // namespace bert::text
