#include "dataloader/text/wordpiece.h"

#include <optional>
#include <utility>

#include "dataloader/text/token_joining.h"
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

}  // namespace

WordPieceTokenizer::WordPieceTokenizer(Vocabulary vocabulary, const NormalizerOptions& options)
    : normalizer_(options), vocabulary_(std::move(vocabulary)) {}

void WordPieceTokenizer::Encode(std::string_view text, std::vector<uint32_t>* ids, SpecialTokenText special) const {
  EncodeAll<false>(text, special, ids, nullptr);
}

void WordPieceTokenizer::EncodeWithOffsets(std::string_view text, std::vector<uint32_t>* ids,
                                           std::vector<ByteSpan>* spans, SpecialTokenText special) const {
  EncodeAll<true>(text, special, ids, spans);
}

template <bool kSpans>
void WordPieceTokenizer::EncodeAll(std::string_view text, SpecialTokenText special, std::vector<uint32_t>* ids,
                                   std::vector<ByteSpan>* spans) const {
  WordScanner<kSpans> scanner(normalizer_);
  size_t plain_begin = 0;
  const auto encode_plain = [&](size_t end) {
    scanner.Scan(text.substr(plain_begin, end - plain_begin),
                 [&](const ScannedWord& word) { EncodeWord<kSpans>(word, plain_begin, ids, spans); });
  };
  if (special == SpecialTokenText::kIsToken) {
    for (size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at)) {
      const std::string_view token = SpecialTokenAt(text.substr(at));
      if (token.empty()) {
        ++at;
        continue;
      }
      encode_plain(at);
      ids->push_back(*vocabulary_.Id(token));
      if constexpr (kSpans) spans->push_back({at, at + token.size()});
      at += token.size();
      plain_begin = at;
    }
  }
  encode_plain(text.size());
}

template <bool kSpans>
void WordPieceTokenizer::EncodeWord(const ScannedWord& word, size_t offset, std::vector<uint32_t>* ids,
                                    std::vector<ByteSpan>* spans) const {
  const size_t first = ids->size();
  size_t at = 0;
  while (!word.too_long && at < word.text.size()) {
    const VocabularyTrie::Match match = vocabulary_.LongestPrefix(word.text.substr(at), at == 0);
    if (match.bytes == 0) break;
    ids->push_back(match.id);
    if constexpr (kSpans) {
      spans->push_back({offset + word.sources[at].begin, offset + word.sources[at + match.bytes - 1].end});
    }
    at += match.bytes;
  }
  if (at == word.text.size() && !word.too_long) return;
  if constexpr (kSpans) {
    spans->resize(spans->size() - (ids->size() - first));
    spans->push_back({offset + word.span.begin, offset + word.span.end});
  }
  ids->resize(first);
  ids->push_back(vocabulary_.special().unk);
}

ModelInput WordPieceTokenizer::EncodeForModel(std::string_view first, std::optional<std::string_view> second,
                                              SpecialTokenText special) const {
  ModelInput input;
  const auto add_special = [&](uint32_t id) {
    input.ids.push_back(id);
    input.spans.push_back({});
  };
  add_special(vocabulary_.special().cls);
  EncodeWithOffsets(first, &input.ids, &input.spans, special);
  add_special(vocabulary_.special().sep);
  input.type_ids.resize(input.ids.size(), 0);
  if (second) {
    EncodeWithOffsets(*second, &input.ids, &input.spans, special);
    add_special(vocabulary_.special().sep);
    input.type_ids.resize(input.ids.size(), 1);
  }
  return input;
}

std::string WordPieceTokenizer::Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string_view> tokens;
  for (const uint32_t id : ids) {
    if (!skip_special_tokens || !vocabulary_.IsSpecial(id)) tokens.push_back(vocabulary_.Token(id));
  }
  return JoinWordPieces(tokens, kContinuationPrefix, /*clean_up=*/true);
}

std::vector<ByteSpan> CodePointSpans(std::string_view text, absl::Span<const ByteSpan> spans) {
  // Counts code points up to byte positions, on from the one before where that can be.
  struct Counter {
    std::string_view text;
    size_t position = 0;
    size_t count = 0;

    size_t UpTo(size_t end) {
      if (end < position) position = count = 0;
      count += CountCodePoints(text.substr(position, end - position));
      position = end;
      return count;
    }
  };
  Counter begins{text};
  Counter ends{text};
  std::vector<ByteSpan> counted;
  counted.reserve(spans.size());
  for (const ByteSpan& span : spans) counted.push_back({begins.UpTo(span.begin), ends.UpTo(span.end)});
  return counted;
}

}  // namespace bert::text
