#include "dataloader/text/wordpiece.h"

#include <optional>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "dataloader/text/pretokenizer.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

// The special token that `text` begins with, or nothing. None is the beginning of another.
std::string_view SpecialTokenAt(std::string_view text) {
  for (const std::string_view token : kSpecialTokens) {
    if (text.starts_with(token)) return token;
  }
  return {};
}

// Replaced one rule after the other, each over the whole token, in Hugging Face's order.
constexpr std::pair<absl::string_view, absl::string_view> kCleanUp[] = {
    {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
    {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

}  // namespace

WordPieceTokenizer::WordPieceTokenizer(Vocabulary vocabulary, const NormalizerOptions& options)
    : normalizer_(options), vocabulary_(std::move(vocabulary)) {}

void WordPieceTokenizer::Encode(std::string_view text, std::vector<uint32_t>* ids, SpecialTokenText special) const {
  std::string scratch;
  if (special == SpecialTokenText::kIsToken) {
    size_t plain_begin = 0;
    for (size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at)) {
      const std::string_view token = SpecialTokenAt(text.substr(at));
      if (token.empty()) {
        ++at;
        continue;
      }
      EncodePlain(text.substr(plain_begin, at - plain_begin), &scratch, ids);
      ids->push_back(*vocabulary_.Id(token));
      at += token.size();
      plain_begin = at;
    }
    text.remove_prefix(plain_begin);
  }
  EncodePlain(text, &scratch, ids);
}

void WordPieceTokenizer::EncodePlain(std::string_view text, std::string* scratch, std::vector<uint32_t>* ids) const {
  normalizer_.Normalize(text, scratch);
  ForEachWord(*scratch, [&](std::string_view word) { EncodeWord(word, ids); });
}

void WordPieceTokenizer::EncodeWord(std::string_view word, std::vector<uint32_t>* ids) const {
  const size_t first = ids->size();
  if (word.size() > kWordCodePointsMax && CountCodePoints(word) > kWordCodePointsMax) {
    ids->push_back(vocabulary_.special().unk);
    return;
  }
  std::string_view rest = word;
  while (!rest.empty()) {
    const std::optional<Vocabulary::Match> match = vocabulary_.LongestPrefix(rest, rest.size() == word.size());
    if (!match) {
      ids->resize(first);
      ids->push_back(vocabulary_.special().unk);
      return;
    }
    ids->push_back(match->id);
    rest.remove_prefix(match->bytes);
  }
}

std::string WordPieceTokenizer::Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens) const {
  std::string text;
  bool first = true;
  for (const uint32_t id : ids) {
    if (skip_special_tokens && vocabulary_.IsSpecial(id)) continue;
    std::string_view token = vocabulary_.Token(id);
    std::string piece;
    if (!first && token.starts_with(kContinuationPrefix)) {
      token.remove_prefix(kContinuationPrefix.size());
    } else if (!first) {
      piece = " ";
    }
    piece += token;
    first = false;
    for (const auto& [from, to] : kCleanUp) absl::StrReplaceAll({{from, to}}, &piece);
    text += piece;
  }
  return text;
}

}  // namespace bert::text
