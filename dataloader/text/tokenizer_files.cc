#include "dataloader/text/tokenizer_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kVocabularyFile[] = "vocab.txt";
constexpr char kConfigFile[] = "tokenizer_config.json";

std::string JoinPath(const std::string& directory, std::string_view name) {
  return (std::filesystem::path(directory) / name).string();
}

Json OptionalBool(const std::optional<bool>& value) { return value ? Json(*value) : Json(nullptr); }

Json SpecialTokenNames() {
  return Json{{"unk_token", "[UNK]"},
              {"sep_token", "[SEP]"},
              {"pad_token", "[PAD]"},
              {"cls_token", "[CLS]"},
              {"mask_token", "[MASK]"}};
}

Json TokenizerConfig(const NormalizerOptions& options) {
  Json config{{"tokenizer_class", "BertTokenizer"},
              {"do_lower_case", options.lowercase},
              {"strip_accents", OptionalBool(options.strip_accents)},
              {"tokenize_chinese_chars", options.handle_chinese_chars}};
  config.update(SpecialTokenNames());
  return config;
}

Json TemplatePiece(const char* kind, const char* id, int type) { return Json{{kind, {{"id", id}, {"type_id", type}}}}; }

Json SpecialTokenOfTemplate(const char* token, uint32_t id) {
  return Json{{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
}

// [CLS] A [SEP], or [CLS] A [SEP] B [SEP].
Json PostProcessor(const SpecialIds& special) {
  return Json{{"type", "TemplateProcessing"},
              {"single", Json::array({TemplatePiece("SpecialToken", "[CLS]", 0), TemplatePiece("Sequence", "A", 0),
                                      TemplatePiece("SpecialToken", "[SEP]", 0)})},
              {"pair", Json::array({TemplatePiece("SpecialToken", "[CLS]", 0), TemplatePiece("Sequence", "A", 0),
                                    TemplatePiece("SpecialToken", "[SEP]", 0), TemplatePiece("Sequence", "B", 1),
                                    TemplatePiece("SpecialToken", "[SEP]", 1)})},
              {"special_tokens",
               {{"[CLS]", SpecialTokenOfTemplate("[CLS]", special.cls)},
                {"[SEP]", SpecialTokenOfTemplate("[SEP]", special.sep)}}}};
}

// The format of `tokenizers`' Tokenizer.from_file.
Json TokenizerJson(const WordPieceTokenizer& tokenizer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  const NormalizerOptions& options = tokenizer.options();
  Json added = Json::array();
  Json vocab = Json::object();
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    // Straight to the vector behind it: operator[] of an ordered object looks through all keys.
    vocab.get_ref<Json::object_t&>().Container::emplace_back(vocabulary.Token(id), id);
    if (!vocabulary.IsSpecial(id)) continue;
    added.push_back(Json{{"id", id},
                         {"content", vocabulary.Token(id)},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", true}});
  }
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", std::move(added)},
              {"normalizer",
               {{"type", "BertNormalizer"},
                {"clean_text", true},
                {"handle_chinese_chars", options.handle_chinese_chars},
                {"strip_accents", OptionalBool(options.strip_accents)},
                {"lowercase", options.lowercase}}},
              {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
              {"post_processor", PostProcessor(vocabulary.special())},
              {"decoder", {{"type", "WordPiece"}, {"prefix", kContinuationPrefix}, {"cleanup", true}}},
              {"model",
               {{"type", "WordPiece"},
                {"unk_token", "[UNK]"},
                {"continuing_subword_prefix", kContinuationPrefix},
                {"max_input_chars_per_word", kWordCodePointsMax},
                {"vocab", std::move(vocab)}}}};
}

// `fallback` where the key is missing; null is allowed where the option may be unset.
absl::StatusOr<std::optional<bool>> ReadBool(const Json& config, const char* key, std::optional<bool> fallback) {
  const auto found = config.find(key);
  if (found == config.end()) return fallback;
  if (found->is_null()) return std::optional<bool>();
  if (!found->is_boolean()) {
    return absl::InvalidArgumentError(absl::StrCat("'", key, "' must be true or false, not ", found->dump()));
  }
  return std::optional<bool>(found->get<bool>());
}

absl::StatusOr<NormalizerOptions> ParseConfig(const std::string& content) {
  const Json config = Json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError("not a JSON object");
  // What transformers takes for a key that is missing.
  const NormalizerOptions defaults;
  NormalizerOptions options;
  ASSIGN_OR_RETURN(const std::optional<bool> lowercase, ReadBool(config, "do_lower_case", defaults.lowercase));
  ASSIGN_OR_RETURN(options.strip_accents, ReadBool(config, "strip_accents", std::nullopt));
  ASSIGN_OR_RETURN(const std::optional<bool> chinese,
                   ReadBool(config, "tokenize_chinese_chars", defaults.handle_chinese_chars));
  options.lowercase = lowercase.value_or(defaults.lowercase);
  options.handle_chinese_chars = chinese.value_or(defaults.handle_chinese_chars);
  return options;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> TokenizerFiles(const WordPieceTokenizer& tokenizer) {
  return {{kVocabularyFile, tokenizer.vocabulary().ToText()},
          {"tokenizer.json", TokenizerJson(tokenizer).dump(2) + "\n"},
          {kConfigFile, TokenizerConfig(tokenizer.options()).dump(2) + "\n"},
          {"special_tokens_map.json", SpecialTokenNames().dump(2) + "\n"}};
}

absl::Status WriteTokenizerFiles(const WordPieceTokenizer& tokenizer, const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  for (const auto& [name, content] : TokenizerFiles(tokenizer)) {
    RETURN_IF_ERROR(WriteFileDurably(JoinPath(directory, name), content));
  }
  return absl::OkStatus();
}

absl::StatusOr<WordPieceTokenizer> LoadTokenizer(const std::string& directory) {
  const std::string config_path = JoinPath(directory, kConfigFile);
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Load(JoinPath(directory, kVocabularyFile)));
  ASSIGN_OR_RETURN(const std::string config, ReadFile(config_path));
  const absl::StatusOr<NormalizerOptions> options = ParseConfig(config);
  if (!options.ok()) return Annotate(options.status(), config_path);
  return WordPieceTokenizer(std::move(vocabulary), *options);
}

}  // namespace bert::text
