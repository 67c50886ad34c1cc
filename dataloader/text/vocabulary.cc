#include "dataloader/text/vocabulary.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

absl::Status CheckToken(const std::string& token, size_t id) {
  const auto problem = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("line ", id + 1, ": ", what));
  };
  if (token.empty()) return problem("an empty token");
  if (token.find_first_of("\r\n") != std::string::npos) return problem("a token with a line break");
  if (FindInvalidUtf8(token) != std::string_view::npos) return problem("a token that is not UTF-8");
  return absl::OkStatus();
}

bool IsContinuationToken(std::string_view token) {
  return token.size() > kContinuationPrefix.size() && token.starts_with(kContinuationPrefix);
}

// Stands before continuations in the trie.
constexpr char kContinuationKey = '\xFF';

std::string KeyOf(std::string_view token) {
  if (!IsContinuationToken(token)) return std::string(token);
  return std::string(1, kContinuationKey).append(token.substr(kContinuationPrefix.size()));
}

}  // namespace

absl::StatusOr<Vocabulary> Vocabulary::FromTokens(std::vector<std::string> tokens) {
  if (tokens.size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", tokens.size(), " tokens is too large"));
  }
  Vocabulary vocabulary;
  vocabulary.tokens_ = std::move(tokens);
  for (size_t id = 0; id < vocabulary.tokens_.size(); ++id) RETURN_IF_ERROR(CheckToken(vocabulary.tokens_[id], id));
  RETURN_IF_ERROR(vocabulary.BuildTrie());
  const std::array<uint32_t*, 5> slots = {&vocabulary.special_.pad, &vocabulary.special_.unk, &vocabulary.special_.cls,
                                          &vocabulary.special_.sep, &vocabulary.special_.mask};
  for (size_t i = 0; i < kSpecialTokens.size(); ++i) {
    const std::optional<uint32_t> id = vocabulary.Id(kSpecialTokens[i]);
    if (!id) {
      return absl::InvalidArgumentError(absl::StrCat("the special token ", std::string(kSpecialTokens[i]),
                                                     " is missing; is this a BERT vocabulary?"));
    }
    *slots[i] = *id;
  }
  return vocabulary;
}

absl::Status Vocabulary::BuildTrie() {
  std::vector<std::string> keys;
  keys.reserve(tokens_.size());
  for (const std::string& token : tokens_) keys.push_back(KeyOf(token));
  std::vector<std::pair<std::string_view, uint32_t>> sorted;
  sorted.reserve(keys.size());
  for (const std::string& key : keys) sorted.emplace_back(key, static_cast<uint32_t>(sorted.size()));
  std::sort(sorted.begin(), sorted.end());
  // Of the tokens that occur again, the one that does so first.
  auto repeated = sorted.end();
  for (auto entry = sorted.begin(); entry != sorted.end(); ++entry) {
    if (entry == sorted.begin() || entry->first != std::prev(entry)->first) continue;
    if (repeated == sorted.end() || entry->second < repeated->second) repeated = entry;
  }
  if (repeated != sorted.end()) {
    return absl::InvalidArgumentError(absl::StrCat("line ", repeated->second + 1, ": the token '",
                                                   tokens_[repeated->second], "' is already on line ",
                                                   std::prev(repeated)->second + 1));
  }
  trie_ = VocabularyTrie(sorted);
  continuations_ = trie_.Child(VocabularyTrie::kRoot, static_cast<uint8_t>(kContinuationKey));
  return absl::OkStatus();
}

absl::StatusOr<Vocabulary> Vocabulary::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  std::vector<std::string> tokens;
  for (size_t begin = 0; begin < content.size();) {
    size_t end = content.find('\n', begin);
    if (end == std::string::npos) end = content.size();
    std::string_view line = std::string_view(content).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    tokens.emplace_back(line);
    begin = end + 1;
  }
  absl::StatusOr<Vocabulary> vocabulary = FromTokens(std::move(tokens));
  if (!vocabulary.ok()) return Annotate(vocabulary.status(), path);
  return vocabulary;
}

const std::string& Vocabulary::Token(uint32_t id) const {
  BERT_CHECK(id < tokens_.size()) << "token id " << id << " of a vocabulary of " << tokens_.size();
  return tokens_[id];
}

std::optional<uint32_t> Vocabulary::Id(std::string_view token) const {
  const uint32_t id = trie_.Find(KeyOf(token));
  return id == VocabularyTrie::kNoId ? std::nullopt : std::optional<uint32_t>(id);
}

bool Vocabulary::IsSpecial(uint32_t id) const {
  return id == special_.pad || id == special_.unk || id == special_.cls || id == special_.sep || id == special_.mask;
}

bool Vocabulary::IsContinuation(uint32_t id) const { return IsContinuationToken(Token(id)); }

std::string Vocabulary::ToText() const {
  std::string text;
  for (const std::string& token : tokens_) absl::StrAppend(&text, token, "\n");
  return text;
}

}  // namespace bert::text
