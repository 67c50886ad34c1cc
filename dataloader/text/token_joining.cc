#include "dataloader/text/token_joining.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "dataloader/text/byte_level.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Replaced one rule after the other, each over the whole token, in Hugging Face's order.
constexpr std::pair<absl::string_view, absl::string_view> kCleanUp[] = {
    {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
    {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

}  // namespace

std::string JoinWordPieces(absl::Span<const std::string_view> tokens, std::string_view prefix, bool clean_up) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string_view token = tokens[i];
    std::string piece;
    if (i > 0 && token.starts_with(prefix)) {
      token.remove_prefix(prefix.size());
    } else if (i > 0) {
      piece = " ";
    }
    piece += token;
    if (clean_up) {
      for (const auto& [from, to] : kCleanUp) absl::StrReplaceAll({{from, to}}, &piece);
    }
    text += piece;
  }
  return text;
}

std::string JoinBySuffix(absl::Span<const std::string_view> tokens, std::string_view suffix) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string piece(tokens[i]);
    absl::StrReplaceAll({{View(suffix), i + 1 == tokens.size() ? "" : " "}}, &piece);
    text += piece;
  }
  return text;
}

std::string JoinByteLevel(absl::Span<const std::string_view> tokens) {
  std::string bytes;
  for (const std::string_view token : tokens) AppendBytesOfCharacters(token, &bytes);
  if (FindInvalidUtf8(bytes) == std::string_view::npos) return bytes;
  std::string text;
  for (size_t offset = 0; offset < bytes.size();) AppendUtf8(DecodeUtf8(bytes, &offset), &text);
  return text;
}

}  // namespace bert::text
