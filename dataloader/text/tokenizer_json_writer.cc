#include "dataloader/text/tokenizer_json_writer.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace bert::text {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// Null for none, the thing itself for one, else a Sequence.
Json OneOrSequence(std::vector<Json> parts, const char* name) {
  if (parts.empty()) return nullptr;
  if (parts.size() == 1) return std::move(parts[0]);
  return Json{{"type", "Sequence"}, {name, std::move(parts)}};
}

Json Normalizers(const std::vector<NormalizerStep>& steps) {
  using Kind = NormalizerStep::Kind;
  std::vector<Json> parts;
  for (const NormalizerStep& step : steps) {
    switch (step.kind) {
      case Kind::kBert:
        parts.push_back(Json{{"type", "BertNormalizer"},
                             {"clean_text", step.clean_text},
                             {"handle_chinese_chars", step.bert.handle_chinese_chars},
                             {"strip_accents", OrNull(step.bert.strip_accents)},
                             {"lowercase", step.bert.lowercase}});
        break;
      case Kind::kNfc:
        parts.push_back(Json{{"type", "NFC"}});
        break;
      case Kind::kNfd:
        parts.push_back(Json{{"type", "NFD"}});
        break;
      case Kind::kNfkc:
        parts.push_back(Json{{"type", "NFKC"}});
        break;
      case Kind::kNfkd:
        parts.push_back(Json{{"type", "NFKD"}});
        break;
      case Kind::kLowercase:
        parts.push_back(Json{{"type", "Lowercase"}});
        break;
      case Kind::kStripAccents:
        parts.push_back(Json{{"type", "StripAccents"}});
        break;
      case Kind::kStrip:
        parts.push_back(Json{{"type", "Strip"}, {"strip_left", step.left}, {"strip_right", step.right}});
        break;
    }
  }
  return OneOrSequence(std::move(parts), "normalizers");
}

Json ByteLevel(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return Json{{"type", "ByteLevel"},
              {"add_prefix_space", add_prefix_space},
              {"trim_offsets", trim_offsets},
              {"use_regex", use_regex}};
}

Json Pretokenizers(const std::vector<PretokenizerStep>& steps) {
  using Kind = PretokenizerStep::Kind;
  std::vector<Json> parts;
  for (const PretokenizerStep& step : steps) {
    switch (step.kind) {
      case Kind::kBert:
        parts.push_back(Json{{"type", "BertPreTokenizer"}});
        break;
      case Kind::kWhitespace:
        parts.push_back(Json{{"type", "Whitespace"}});
        break;
      case Kind::kWhitespaceSplit:
        parts.push_back(Json{{"type", "WhitespaceSplit"}});
        break;
      case Kind::kByteLevel:
        parts.push_back(ByteLevel(step.add_prefix_space, step.trim_offsets, step.use_regex));
        break;
    }
  }
  return OneOrSequence(std::move(parts), "pretokenizers");
}

Json Decoder(const DecoderSpec& decoder) {
  switch (decoder.kind) {
    case DecoderSpec::Kind::kByteLevel:
      return ByteLevel(true, true, true);  // Of no effect on decoding.
    case DecoderSpec::Kind::kBpe:
      return Json{{"type", "BPEDecoder"}, {"suffix", decoder.mark}};
    case DecoderSpec::Kind::kWordPiece:
      return Json{{"type", "WordPiece"}, {"prefix", decoder.mark}, {"cleanup", decoder.cleanup}};
    case DecoderSpec::Kind::kNone:
      break;
  }
  return nullptr;
}

Json Model(const TokenizerSpec& spec) {
  Json vocab = Json::object();
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    // Straight to the vector behind it: operator[] of an ordered object looks through all keys.
    if (spec.tokens[id].in_model) {
      vocab.get_ref<Json::object_t&>().Container::emplace_back(spec.tokens[id].content, id);
    }
  }
  if (const auto* options = std::get_if<WordPieceModel::Options>(&spec.model)) {
    return Json{{"type", "WordPiece"},
                {"unk_token", options->unk_token},
                {"continuing_subword_prefix", options->continuing_subword_prefix},
                {"max_input_chars_per_word", options->max_input_chars_per_word},
                {"vocab", std::move(vocab)}};
  }
  const auto& [options, merges] = std::get<BpeSpec>(spec.model);
  Json pairs = Json::array();
  for (const auto& [first, second] : merges) pairs.push_back(Json::array({first, second}));
  return Json{{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", OrNull(options.unk_token)},
              {"continuing_subword_prefix", OrNull(options.continuing_subword_prefix)},
              {"end_of_word_suffix", OrNull(options.end_of_word_suffix)},
              {"fuse_unk", options.fuse_unk},
              {"byte_fallback", options.byte_fallback},
              {"ignore_merges", options.ignore_merges},
              {"vocab", std::move(vocab)},
              {"merges", std::move(pairs)}};
}

Json TemplatePiece(const char* kind, const std::string& id, int type) {
  return Json{{kind, {{"id", id}, {"type_id", type}}}};
}

Json SpecialTokenOfTemplate(const std::string& token, uint32_t id) {
  return Json{{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
}

}  // namespace

std::string TemplateProcessingJson(const std::string& cls, uint32_t cls_id, const std::string& sep, uint32_t sep_id) {
  return Json{
      {"type", "TemplateProcessing"},
      {"single", Json::array({TemplatePiece("SpecialToken", cls, 0), TemplatePiece("Sequence", "A", 0),
                              TemplatePiece("SpecialToken", sep, 0)})},
      {"pair", Json::array({TemplatePiece("SpecialToken", cls, 0), TemplatePiece("Sequence", "A", 0),
                            TemplatePiece("SpecialToken", sep, 0), TemplatePiece("Sequence", "B", 1),
                            TemplatePiece("SpecialToken", sep, 1)})},
      {"special_tokens", {{cls, SpecialTokenOfTemplate(cls, cls_id)}, {sep, SpecialTokenOfTemplate(sep, sep_id)}}}}
      .dump();
}

std::string FormatTokenizerJson(const TokenizerSpec& spec) {
  Json added = Json::array();
  for (const AddedToken& token : spec.added) {
    added.push_back(Json{{"id", token.id},
                         {"content", token.content},
                         {"single_word", token.single_word},
                         {"lstrip", token.lstrip},
                         {"rstrip", token.rstrip},
                         {"normalized", token.normalized},
                         {"special", token.special}});
  }
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", std::move(added)},
              {"normalizer", Normalizers(spec.normalizers)},
              {"pre_tokenizer", Pretokenizers(spec.pretokenizers)},
              {"post_processor", Json::parse(spec.post_processor_json)},
              {"decoder", Decoder(spec.decoder)},
              {"model", Model(spec)}}
             .dump(2) +
         "\n";
}

TokenizerSpec SpecOf(const WordPieceTokenizer& tokenizer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  TokenizerSpec spec;
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    spec.tokens.push_back({.content = vocabulary.Token(id)});
    if (vocabulary.IsSpecial(id)) spec.added.push_back({.id = id, .content = vocabulary.Token(id), .special = true});
  }
  spec.normalizers = {{.kind = NormalizerStep::Kind::kBert, .bert = tokenizer.options()}};
  spec.pretokenizers = {{.kind = PretokenizerStep::Kind::kBert}};
  spec.model = WordPieceModel::Options{};
  spec.decoder = {.kind = DecoderSpec::Kind::kWordPiece, .mark = std::string(kContinuationPrefix)};
  const SpecialIds& special = vocabulary.special();
  spec.post_processor_json = TemplateProcessingJson("[CLS]", special.cls, "[SEP]", special.sep);
  return spec;
}

}  // namespace bert::text
