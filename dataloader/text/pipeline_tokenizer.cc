#include "dataloader/text/pipeline_tokenizer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "dataloader/text/byte_level.h"
#include "dataloader/text/token_joining.h"
#include "dataloader/text/unicode.h"

namespace bert::text {
namespace {

// RoBERTa's names for kSpecialTokens, in its order.
constexpr std::array<std::string_view, 5> kOtherSpecialTokens = {"<pad>", "<unk>", "<s>", "</s>", "<mask>"};

bool IsSpaceByte(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

// Without the bytes that are not.
std::string WellFormed(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t bad = FindInvalidUtf8(text);
    out += text.substr(0, bad);
    if (bad == std::string_view::npos) break;
    size_t behind = bad;
    DecodeUtf8(text, &behind);
    text.remove_prefix(behind);
  }
  return out;
}

std::vector<AddedToken> Select(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> selected;
  for (const AddedToken& token : tokens) {
    if (token.normalized == normalized) selected.push_back(token);
  }
  return selected;
}

std::string Apply(const std::vector<NormalizerStep>& steps, std::string_view text) {
  std::string normalized(text);
  for (const NormalizerStep& step : steps) normalized = Normalized(step, normalized);
  return normalized;
}

std::vector<AddedToken> WithContentNormalized(std::vector<AddedToken> tokens,
                                              const std::vector<NormalizerStep>& steps) {
  for (AddedToken& token : tokens) token.content = Apply(steps, token.content);
  return tokens;
}

}  // namespace

// One call of Encode. Real text repeats its words, so what each became is kept until the end of the call.
class PipelineTokenizer::Encoding {
 public:
  Encoding(const PipelineTokenizer& tokenizer, std::vector<uint32_t>* ids) : tokenizer_(tokenizer), ids_(ids) {}

  // A piece without added tokens, from the given pre-tokenizer on.
  void AddPiece(std::string_view piece, size_t step) {
    const std::vector<PretokenizerStep>& steps = tokenizer_.spec_.pretokenizers;
    if (step == steps.size()) {
      if (!piece.empty()) AddWord(piece);
      return;
    }
    ForEachWordOf(steps[step], piece, [&](std::string_view word) { AddPiece(word, step + 1); });
  }

  void AddToken(uint32_t id) { ids_->push_back(id); }

 private:
  static constexpr size_t kKeptBytesMax = 32;
  static constexpr size_t kKeptWordsMax = 1 << 14;

  void AddWord(std::string_view word) {
    const bool keep = word.size() <= kKeptBytesMax && kept_.size() < kKeptWordsMax;
    if (const auto found = kept_.find(absl::string_view(word.data(), word.size())); found != kept_.end()) {
      const auto [begin, count] = found->second;
      for (size_t i = begin; i < begin + count; ++i) ids_->push_back((*ids_)[i]);
      return;
    }
    const size_t begin = ids_->size();
    if (const auto* bpe = std::get_if<BpeModel>(&tokenizer_.model_)) {
      bpe->Encode(word, ids_);
    } else {
      std::get<WordPieceModel>(tokenizer_.model_).Encode(word, ids_);
    }
    if (keep) kept_.emplace(word, std::pair(begin, ids_->size() - begin));
  }

  const PipelineTokenizer& tokenizer_;
  std::vector<uint32_t>* const ids_;
  // Where in ids_ the word's first occurrence is, and how many tokens it has.
  absl::flat_hash_map<std::string, std::pair<size_t, size_t>> kept_;
};

PipelineTokenizer::PipelineTokenizer(TokenizerSpec spec)
    : spec_(std::move(spec)),
      table_(spec_.tokens),
      raw_(Select(spec_.added, /*normalized=*/false)),
      normalized_(WithContentNormalized(Select(spec_.added, /*normalized=*/true), spec_.normalizers)),
      is_special_(spec_.tokens.size()) {}

absl::StatusOr<std::unique_ptr<PipelineTokenizer>> PipelineTokenizer::Create(TokenizerSpec spec) {
  std::unique_ptr<PipelineTokenizer> tokenizer(new PipelineTokenizer(std::move(spec)));
  for (const AddedToken& token : tokenizer->spec_.added) {
    BERT_CHECK(token.id < tokenizer->size() && tokenizer->Token(token.id) == token.content)
        << "added token " << token.content;
    tokenizer->is_special_[token.id] = token.special ? 1 : 0;
    if (token.normalized) {
      tokenizer->normalized_contents_[token.id] = Apply(tokenizer->spec_.normalizers, token.content);
    }
  }
  RETURN_IF_ERROR(tokenizer->FindSpecialTokens());
  RETURN_IF_ERROR(tokenizer->MakeModel());
  tokenizer->FindEdges();
  return tokenizer;
}

absl::Status PipelineTokenizer::MakeModel() {
  if (const auto* bpe = std::get_if<BpeSpec>(&spec_.model)) {
    ASSIGN_OR_RETURN(model_, BpeModel::Create(table_, bpe->merges, bpe->options));
  } else {
    ASSIGN_OR_RETURN(model_, WordPieceModel::Create(table_, std::get<WordPieceModel::Options>(spec_.model)));
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::FindSpecialTokens() {
  const std::array<uint32_t*, 5> slots = {&special_.pad, &special_.unk, &special_.cls, &special_.sep, &special_.mask};
  const auto find = [this](std::string_view name) -> std::optional<uint32_t> {
    const auto found = std::find_if(spec_.tokens.begin(), spec_.tokens.end(),
                                    [name](const VocabularyToken& token) { return token.content == name; });
    if (found == spec_.tokens.end()) return std::nullopt;
    return static_cast<uint32_t>(found - spec_.tokens.begin());
  };
  for (size_t i = 0; i < slots.size(); ++i) {
    std::optional<uint32_t> id = find(kSpecialTokens[i]);
    if (!id) id = find(kOtherSpecialTokens[i]);
    if (!id) {
      return absl::InvalidArgumentError(absl::StrCat("the vocabulary has neither ", std::string(kSpecialTokens[i]),
                                                     " nor ", std::string(kOtherSpecialTokens[i]),
                                                     ", which a model that fills masks needs"));
    }
    *slots[i] = *id;
  }
  return absl::OkStatus();
}

bool PipelineTokenizer::IsByteLevel() const {
  return std::any_of(spec_.pretokenizers.begin(), spec_.pretokenizers.end(),
                     [](const PretokenizerStep& step) { return step.kind == PretokenizerStep::Kind::kByteLevel; });
}

std::string_view PipelineTokenizer::type() const {
  if (std::holds_alternative<WordPieceModel::Options>(spec_.model)) return "wordpiece";
  return IsByteLevel() ? "byte-level-bpe" : "bpe";
}

bool PipelineTokenizer::lowercase() const {
  return std::any_of(spec_.normalizers.begin(), spec_.normalizers.end(), [](const NormalizerStep& step) {
    return step.kind == NormalizerStep::Kind::kLowercase ||
           (step.kind == NormalizerStep::Kind::kBert && step.bert.lowercase);
  });
}

const std::string& PipelineTokenizer::Token(uint32_t id) const {
  BERT_CHECK(id < size()) << "token id " << id << " of a vocabulary of " << size();
  return spec_.tokens[id].content;
}

bool PipelineTokenizer::ContinuesWord(uint32_t id) const { return edges_.at(id).continues; }

bool PipelineTokenizer::EndsWord(uint32_t id) const { return edges_.at(id).ends; }

PipelineTokenizer::Edges PipelineTokenizer::EdgesOf(std::string_view token) const {
  if (const auto* wordpiece = std::get_if<WordPieceModel::Options>(&spec_.model)) {
    const std::string& prefix = wordpiece->continuing_subword_prefix;
    return {.continues = !prefix.empty() && token.size() > prefix.size() && token.starts_with(prefix)};
  }
  if (IsByteLevel()) {
    std::string bytes;
    AppendBytesOfCharacters(token, &bytes);
    return {.continues = !IsSpaceByte(static_cast<uint8_t>(bytes.front())),
            .ends = IsSpaceByte(static_cast<uint8_t>(bytes.back()))};
  }
  const BpeModel::Options& options = std::get<BpeSpec>(spec_.model).options;
  const std::string prefix = options.continuing_subword_prefix.value_or("");
  const std::string suffix = options.end_of_word_suffix.value_or("");
  // Where nothing marks what belongs together, each token is a word.
  return {.continues = prefix.empty() ? !suffix.empty() : token.size() > prefix.size() && token.starts_with(prefix),
          .ends = !suffix.empty() && token.ends_with(suffix)};
}

void PipelineTokenizer::FindEdges() {
  edges_.reserve(size());
  for (uint32_t id = 0; id < size(); ++id) edges_.push_back(EdgesOf(spec_.tokens[id].content));
  // These are words of their own.
  for (const AddedToken& token : spec_.added) edges_[token.id] = {.continues = false, .ends = true};
  for (const uint32_t id : {special_.pad, special_.unk, special_.cls, special_.sep, special_.mask}) {
    edges_[id] = {.continues = false, .ends = true};
  }
}

void PipelineTokenizer::Encode(std::string_view text, std::vector<uint32_t>* ids, SpecialTokenText special) const {
  std::string well_formed;
  if (!TakesAnyBytes() && FindInvalidUtf8(text) != std::string_view::npos) text = well_formed = WellFormed(text);
  Encoding encoding(*this, ids);
  const auto add_token = [&](uint32_t id) { encoding.AddToken(id); };
  raw_.Split(
      text, special,
      [&](std::string_view plain) {
        const std::string normalized = Apply(spec_.normalizers, plain);
        normalized_.Split(
            normalized, special, [&](std::string_view piece) { encoding.AddPiece(piece, 0); }, add_token);
      },
      add_token);
}

std::string PipelineTokenizer::Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string_view> tokens;
  for (const uint32_t id : ids) {
    if (skip_special_tokens && is_special_.at(id) != 0) continue;
    const auto normalized = normalized_contents_.find(id);
    tokens.push_back(normalized == normalized_contents_.end() ? std::string_view(Token(id)) : normalized->second);
  }
  switch (spec_.decoder.kind) {
    case DecoderSpec::Kind::kByteLevel:
      return JoinByteLevel(tokens);
    case DecoderSpec::Kind::kBpe:
      return JoinBySuffix(tokens, spec_.decoder.mark);
    case DecoderSpec::Kind::kWordPiece:
      return JoinWordPieces(tokens, spec_.decoder.mark, spec_.decoder.cleanup);
    case DecoderSpec::Kind::kNone:
      break;
  }
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) absl::StrAppend(&text, i > 0 ? " " : "", std::string(tokens[i]));
  return text;
}

}  // namespace bert::text
