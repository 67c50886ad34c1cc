// A tokenizer of the parts that a tokenizer.json lists: added tokens, normalisers, pre-tokenizers, a model, a decoder.
#ifndef BERT_DATALOADER_TEXT_PIPELINE_TOKENIZER_H_
#define BERT_DATALOADER_TEXT_PIPELINE_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dataloader/text/added_tokens.h"
#include "dataloader/text/normalizer_step.h"
#include "dataloader/text/pretokenizer_step.h"
#include "dataloader/text/subword_model.h"
#include "dataloader/text/tokenizer.h"

namespace bert::text {

struct BpeSpec {
  BpeModel::Options options = {};
  BpeModel::Merges merges = {};
};

struct DecoderSpec {
  // kNone: a space between tokens.
  enum class Kind { kNone, kByteLevel, kBpe, kWordPiece };

  Kind kind = Kind::kNone;
  // kBpe's suffix, kWordPiece's prefix.
  std::string mark = {};
  // kWordPiece
  bool cleanup = true;
};

struct TokenizerSpec {
  std::vector<VocabularyToken> tokens = {};  // By id; no content twice.
  std::vector<AddedToken> added = {};
  std::vector<NormalizerStep> normalizers = {};
  std::vector<PretokenizerStep> pretokenizers = {};
  std::variant<BpeSpec, WordPieceModel::Options> model = {};
  DecoderSpec decoder = {};
  // As in the file, "null" included: adding [CLS] and [SEP] is up to who asks for the ids.
  std::string post_processor_json = "null";
};

// Any of these, step after step as Hugging Face's `tokenizers` goes. For a plain BERT vocabulary there is the faster
// WordPieceTokenizer.
class PipelineTokenizer final : public Tokenizer {
 public:
  // INVALID_ARGUMENT: no token for one of the five special roles, as [PAD] or <pad> and so on (<s> and </s> are [CLS]
  // and [SEP]), or what the models' Create says.
  static absl::StatusOr<std::unique_ptr<PipelineTokenizer>> Create(TokenizerSpec spec);

  const TokenizerSpec& spec() const { return spec_; }

  std::string_view type() const override;
  size_t size() const override { return spec_.tokens.size(); }
  const std::string& Token(uint32_t id) const override;
  const SpecialIds& special() const override { return special_; }
  bool lowercase() const override;
  bool ContinuesWord(uint32_t id) const override;
  bool EndsWord(uint32_t id) const override;
  void Encode(std::string_view text, std::vector<uint32_t>* ids,
              SpecialTokenText special = SpecialTokenText::kIsToken) const override;
  std::string Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens = true) const override;

 private:
  class Encoding;
  // What a token says of the word it is in.
  struct Edges {
    bool continues = false;
    bool ends = false;
  };

  explicit PipelineTokenizer(TokenizerSpec spec);
  absl::Status MakeModel();
  absl::Status FindSpecialTokens();
  void FindEdges();
  Edges EdgesOf(std::string_view token) const;
  bool IsByteLevel() const;
  // Whether every byte may be encoded, UTF-8 or not.
  bool TakesAnyBytes() const { return IsByteLevel() && spec_.normalizers.empty(); }

  const TokenizerSpec spec_;
  const TokenTable table_;  // Of spec_.tokens.
  std::variant<std::monostate, BpeModel, WordPieceModel> model_;
  AddedTokenFinder raw_;
  AddedTokenFinder normalized_;
  SpecialIds special_;
  std::vector<Edges> edges_;         // By id.
  std::vector<uint8_t> is_special_;  // By id: an added token that is special.
  // Of added tokens that are looked for after normalisation: as they are found, and decoded.
  absl::flat_hash_map<uint32_t, std::string> normalized_contents_;
};

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_PIPELINE_TOKENIZER_H_
