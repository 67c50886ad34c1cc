#include "dataloader/text/trained_tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/status_macros.h"
#include "dataloader/text/pipeline_tokenizer.h"
#include "dataloader/text/tokenizer_json_writer.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(TrainedVocabulary trained, VocabularyKind kind,
                                                         const NormalizerOptions& normalizer) {
  if (kind == VocabularyKind::kWordPiece || kind == VocabularyKind::kWordPieceByScore) {
    ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromTokens(std::move(trained.tokens)));
    return std::make_unique<WordPieceTokenizer>(std::move(vocabulary), normalizer);
  }
  TokenizerSpec spec;
  BpeSpec bpe;
  for (const TokenPair& pair : trained.merges) {
    bpe.merges.emplace_back(trained.tokens[pair.first], trained.tokens[pair.second]);
  }
  if (kind == VocabularyKind::kByteLevelBpe) {
    spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kByteLevel}};
    spec.decoder = {.kind = DecoderSpec::Kind::kByteLevel};
  } else {
    bpe.options = {.unk_token = "[UNK]", .end_of_word_suffix = kEndOfWordSuffix};
    spec.normalizers = {{.kind = NormalizerStep::Kind::kBert, .bert = normalizer}};
    spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kBert}};
    spec.decoder = {.kind = DecoderSpec::Kind::kBpe, .mark = kEndOfWordSuffix};
  }
  spec.model = std::move(bpe);
  for (uint32_t id = 0; id < kSpecialTokens.size(); ++id) {
    // A mask stands for a word with the space before it.
    const bool lstrip = kind == VocabularyKind::kByteLevelBpe && kSpecialTokens[id] == "[MASK]";
    spec.added.push_back({.id = id, .content = std::string(kSpecialTokens[id]), .lstrip = lstrip, .special = true});
  }
  const auto id_of = [](std::string_view token) {
    return static_cast<uint32_t>(std::find(kSpecialTokens.begin(), kSpecialTokens.end(), token) -
                                 kSpecialTokens.begin());
  };
  spec.post_processor_json = TemplateProcessingJson("[CLS]", id_of("[CLS]"), "[SEP]", id_of("[SEP]"));
  for (std::string& token : trained.tokens) spec.tokens.push_back({.content = std::move(token)});
  return PipelineTokenizer::Create(std::move(spec));
}

}  // namespace bert::text
