#include "dataloader/text/tokenizer_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/text/json_fields.h"
#include "dataloader/text/pipeline_tokenizer.h"
#include "dataloader/text/tokenizer_json_reader.h"
#include "dataloader/text/tokenizer_json_writer.h"

namespace bert::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kVocabularyFile[] = "vocab.txt";
constexpr char kJsonFile[] = "tokenizer.json";
constexpr char kConfigFile[] = "tokenizer_config.json";
constexpr char kSpecialTokensFile[] = "special_tokens_map.json";

std::string JoinPath(const std::string& directory, std::string_view name) {
  return (std::filesystem::path(directory) / name).string();
}

Json SpecialTokenNames(const Tokenizer& tokenizer) {
  const SpecialIds& special = tokenizer.special();
  return Json{{"unk_token", tokenizer.Token(special.unk)},
              {"sep_token", tokenizer.Token(special.sep)},
              {"pad_token", tokenizer.Token(special.pad)},
              {"cls_token", tokenizer.Token(special.cls)},
              {"mask_token", tokenizer.Token(special.mask)}};
}

Json BertConfig(const NormalizerOptions& options) {
  return Json{{"tokenizer_class", "BertTokenizer"},
              {"do_lower_case", options.lowercase},
              {"strip_accents", options.strip_accents ? Json(*options.strip_accents) : Json(nullptr)},
              {"tokenize_chinese_chars", options.handle_chinese_chars}};
}

// Everything is in tokenizer.json then.
Json PipelineConfig() {
  return Json{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
}

absl::StatusOr<NormalizerOptions> ParseConfig(const std::string& content) {
  const nlohmann::json config = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError("not a JSON object");
  absl::Status status;
  const JsonFields fields(config, "", &status);
  // What transformers takes for a key that is missing.
  const NormalizerOptions defaults;
  const NormalizerOptions options = {
      .lowercase = fields.Bool("do_lower_case", defaults.lowercase),
      .strip_accents = fields.OptionalBool("strip_accents"),
      .handle_chinese_chars = fields.Bool("tokenize_chinese_chars", defaults.handle_chinese_chars)};
  RETURN_IF_ERROR(status);
  return options;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadVocabularyFile(const std::string& directory) {
  const std::string config_path = JoinPath(directory, kConfigFile);
  absl::StatusOr<Vocabulary> vocabulary = Vocabulary::Load(JoinPath(directory, kVocabularyFile));
  if (absl::IsNotFound(vocabulary.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, ": no tokenizer: neither ", kJsonFile, " nor ", kVocabularyFile));
  }
  RETURN_IF_ERROR(vocabulary.status());
  ASSIGN_OR_RETURN(const std::string config, ReadFile(config_path));
  const absl::StatusOr<NormalizerOptions> options = ParseConfig(config);
  if (!options.ok()) return Annotate(options.status(), config_path);
  return std::make_unique<WordPieceTokenizer>(*std::move(vocabulary), *options);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> TokenizerFiles(const Tokenizer& tokenizer) {
  std::vector<std::pair<std::string, std::string>> files;
  Json config;
  if (const auto* wordpiece = dynamic_cast<const WordPieceTokenizer*>(&tokenizer)) {
    files.emplace_back(kVocabularyFile, wordpiece->vocabulary().ToText());
    files.emplace_back(kJsonFile, FormatTokenizerJson(SpecOf(*wordpiece)));
    config = BertConfig(wordpiece->options());
  } else {
    const auto* pipeline = dynamic_cast<const PipelineTokenizer*>(&tokenizer);
    BERT_CHECK(pipeline != nullptr) << "a tokenizer of type " << tokenizer.type() << " has no file format";
    files.emplace_back(kJsonFile, FormatTokenizerJson(pipeline->spec()));
    config = PipelineConfig();
  }
  const Json names = SpecialTokenNames(tokenizer);
  config.update(names);
  files.emplace_back(kConfigFile, config.dump(2) + "\n");
  files.emplace_back(kSpecialTokensFile, names.dump(2) + "\n");
  return files;
}

absl::Status WriteTokenizerFiles(const Tokenizer& tokenizer, const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  for (const auto& [name, content] : TokenizerFiles(tokenizer)) {
    RETURN_IF_ERROR(WriteFileDurably(JoinPath(directory, name), content));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory) {
  const std::string path = JoinPath(directory, kJsonFile);
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (absl::IsNotFound(content.status())) return LoadVocabularyFile(directory);
  RETURN_IF_ERROR(content.status());
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = ParseTokenizerJson(*content);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> LoadWordPieceTokenizer(const std::string& directory) {
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(directory));
  auto* wordpiece = dynamic_cast<WordPieceTokenizer*>(tokenizer.get());
  if (wordpiece == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(directory, ": not one of BERT's own WordPiece tokenizers"));
  }
  tokenizer.release();
  return std::unique_ptr<WordPieceTokenizer>(wordpiece);
}

}  // namespace bert::text
