#include "dataloader/text/vocabulary.h"

#include <algorithm>
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

}  // namespace

absl::StatusOr<Vocabulary> Vocabulary::FromTokens(std::vector<std::string> tokens) {
  if (tokens.size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", tokens.size(), " tokens is too large"));
  }
  Vocabulary vocabulary;
  vocabulary.tokens_ = std::move(tokens);
  for (size_t id = 0; id < vocabulary.tokens_.size(); ++id) {
    const std::string& token = vocabulary.tokens_[id];
    RETURN_IF_ERROR(CheckToken(token, id));
    const bool continuation = token.size() > kContinuationPrefix.size() && token.starts_with(kContinuationPrefix);
    const std::string_view key = continuation ? std::string_view(token).substr(kContinuationPrefix.size()) : token;
    Table& table = continuation ? vocabulary.continuations_ : vocabulary.starts_;
    size_t& longest = continuation ? vocabulary.longest_continuation_ : vocabulary.longest_start_;
    const auto [existing, added] = table.emplace(key, static_cast<uint32_t>(id));
    if (!added) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", id + 1, ": the token '", token, "' is already on line ", existing->second + 1));
    }
    longest = std::max(longest, key.size());
  }
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
  const bool continuation = token.size() > kContinuationPrefix.size() && token.starts_with(kContinuationPrefix);
  const Table& table = continuation ? continuations_ : starts_;
  const auto found = table.find(continuation ? token.substr(kContinuationPrefix.size()) : token);
  if (found == table.end()) return std::nullopt;
  return found->second;
}

bool Vocabulary::IsSpecial(uint32_t id) const {
  return id == special_.pad || id == special_.unk || id == special_.cls || id == special_.sep || id == special_.mask;
}

bool Vocabulary::IsContinuation(uint32_t id) const {
  const std::string& token = Token(id);
  return token.size() > kContinuationPrefix.size() && token.starts_with(kContinuationPrefix);
}

std::optional<Vocabulary::Match> Vocabulary::LongestPrefix(std::string_view text, bool word_start) const {
  const Table& table = word_start ? starts_ : continuations_;
  size_t bytes = std::min(text.size(), word_start ? longest_start_ : longest_continuation_);
  for (; bytes > 0; --bytes) {
    // Only at the boundaries of code points.
    if (bytes < text.size() && (static_cast<uint8_t>(text[bytes]) & 0xC0) == 0x80) continue;
    const auto found = table.find(text.substr(0, bytes));
    if (found != table.end()) return Match{found->second, bytes};
  }
  return std::nullopt;
}

std::string Vocabulary::ToText() const {
  std::string text;
  for (const std::string& token : tokens_) absl::StrAppend(&text, token, "\n");
  return text;
}

}  // namespace bert::text
