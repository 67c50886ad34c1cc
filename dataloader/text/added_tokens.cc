#include "dataloader/text/added_tokens.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "dataloader/text/pretokenizer_step.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

// The code point that ends before `end`, which is moved to its beginning.
char32_t PreviousCodePoint(std::string_view text, size_t* end) {
  size_t begin = *end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  *end = begin;
  return DecodeUtf8(text, &begin);
}

bool IsSingleWord(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    size_t before = begin;
    if (IsWordCharacter(PreviousCodePoint(text, &before))) return false;
  }
  return end == text.size() || !IsWordCharacter(DecodeUtf8(text, &end));
}

size_t BeginOfSpace(std::string_view text, size_t end) {
  while (end > 0) {
    size_t before = end;
    if (!IsWhitespace(PreviousCodePoint(text, &before))) break;
    end = before;
  }
  return end;
}

size_t EndOfSpace(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t behind = begin;
    if (!IsWhitespace(DecodeUtf8(text, &behind))) break;
    begin = behind;
  }
  return begin;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content.size() > b.content.size(); });
  for (const AddedToken& token : tokens_) first_bytes_[static_cast<uint8_t>(token.content[0])] = true;
}

const AddedToken* AddedTokenFinder::At(std::string_view text) const {
  for (const AddedToken& token : tokens_) {
    if (text.starts_with(token.content)) return &token;
  }
  return nullptr;
}

void AddedTokenFinder::Split(std::string_view text, SpecialTokenText special,
                             absl::FunctionRef<void(std::string_view)> plain,
                             absl::FunctionRef<void(uint32_t)> token) const {
  size_t plain_begin = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* found = first_bytes_[static_cast<uint8_t>(text[at])] ? At(text.substr(at)) : nullptr;
    if (found == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + found->content.size();
    // One that does not count still hides what overlaps it.
    at = end;
    if (special == SpecialTokenText::kIsText && found->special) continue;
    if (found->single_word && !IsSingleWord(text, begin, end)) continue;
    if (found->lstrip) begin = std::max(BeginOfSpace(text, begin), plain_begin);
    if (found->rstrip) end = EndOfSpace(text, end);
    if (begin > plain_begin) plain(text.substr(plain_begin, begin - plain_begin));
    token(found->id);
    plain_begin = end;
  }
  if (plain_begin < text.size()) plain(text.substr(plain_begin));
}

}  // namespace bert::text
