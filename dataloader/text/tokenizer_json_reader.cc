#include "dataloader/text/tokenizer_json_reader.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/text/json_fields.h"
#include "dataloader/text/wordpiece.h"

namespace bert::text {
namespace {

using Json = nlohmann::json;

void ReadNormalizer(const JsonFields& from, std::vector<NormalizerStep>* steps) {
  using Kind = NormalizerStep::Kind;
  const std::string type = from.String("type");
  if (type == "Sequence") {
    from.AllowOnly({"type", "normalizers"});
    for (const JsonFields& each : from.Objects("normalizers")) ReadNormalizer(each, steps);
    return;
  }
  if (type == "BertNormalizer") {
    from.AllowOnly({"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
    steps->push_back({.kind = Kind::kBert,
                      .clean_text = from.Bool("clean_text"),
                      .bert = {.lowercase = from.Bool("lowercase"),
                               .strip_accents = from.OptionalBool("strip_accents"),
                               .handle_chinese_chars = from.Bool("handle_chinese_chars")}});
    return;
  }
  if (type == "Strip") {
    from.AllowOnly({"type", "strip_left", "strip_right"});
    steps->push_back({.kind = Kind::kStrip, .left = from.Bool("strip_left"), .right = from.Bool("strip_right")});
    return;
  }
  constexpr std::pair<std::string_view, Kind> kSimple[] = {{"NFC", Kind::kNfc},
                                                           {"NFD", Kind::kNfd},
                                                           {"NFKC", Kind::kNfkc},
                                                           {"NFKD", Kind::kNfkd},
                                                           {"Lowercase", Kind::kLowercase},
                                                           {"StripAccents", Kind::kStripAccents}};
  from.AllowOnly({"type"});
  for (const auto& [name, kind] : kSimple) {
    if (name == type) return steps->push_back({.kind = kind});
  }
  from.Fail("type", absl::StrCat("the normalizer '", type, "' is not supported"));
}

void ReadPretokenizer(const JsonFields& from, std::vector<PretokenizerStep>* steps) {
  using Kind = PretokenizerStep::Kind;
  const std::string type = from.String("type");
  if (type == "Sequence") {
    from.AllowOnly({"type", "pretokenizers"});
    for (const JsonFields& each : from.Objects("pretokenizers")) ReadPretokenizer(each, steps);
    return;
  }
  if (type == "ByteLevel") {
    from.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    steps->push_back({.kind = Kind::kByteLevel,
                      .add_prefix_space = from.Bool("add_prefix_space"),
                      .use_regex = from.Bool("use_regex", true),
                      .trim_offsets = from.Bool("trim_offsets")});
    return;
  }
  constexpr std::pair<std::string_view, Kind> kSimple[] = {{"BertPreTokenizer", Kind::kBert},
                                                           {"Whitespace", Kind::kWhitespace},
                                                           {"WhitespaceSplit", Kind::kWhitespaceSplit}};
  from.AllowOnly({"type"});
  for (const auto& [name, kind] : kSimple) {
    if (name == type) return steps->push_back({.kind = kind});
  }
  from.Fail("type", absl::StrCat("the pre-tokenizer '", type, "' is not supported"));
}

DecoderSpec ReadDecoder(const JsonFields& from) {
  using Kind = DecoderSpec::Kind;
  const std::string type = from.String("type");
  if (type == "WordPiece") {
    from.AllowOnly({"type", "prefix", "cleanup"});
    return {.kind = Kind::kWordPiece, .mark = from.String("prefix"), .cleanup = from.Bool("cleanup")};
  }
  if (type == "BPEDecoder") {
    from.AllowOnly({"type", "suffix"});
    return {.kind = Kind::kBpe, .mark = from.String("suffix")};
  }
  if (type != "ByteLevel") from.Fail("type", absl::StrCat("the decoder '", type, "' is not supported"));
  from.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  return {.kind = Kind::kByteLevel};
}

// [first, second], or "first second".
std::optional<std::pair<std::string, std::string>> ReadMerge(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string text = merge.get<std::string>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

BpeSpec ReadBpe(const JsonFields& from) {
  from.AllowOnly({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                  "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (const Json* dropout = from.Find("dropout"); dropout != nullptr && *dropout != 0) {
    from.Fail("dropout", "is not supported: ids would be random");
  }
  BpeSpec bpe{.options = {.unk_token = from.OptionalString("unk_token"),
                          .continuing_subword_prefix = from.OptionalString("continuing_subword_prefix"),
                          .end_of_word_suffix = from.OptionalString("end_of_word_suffix"),
                          .fuse_unk = from.Bool("fuse_unk", false),
                          .byte_fallback = from.Bool("byte_fallback", false),
                          .ignore_merges = from.Bool("ignore_merges", false)}};
  const Json* merges = from.Find("merges");
  if (merges == nullptr || !merges->is_array()) {
    from.Fail("merges", "is not an array");
    return bpe;
  }
  for (size_t i = 0; i < merges->size(); ++i) {
    auto merge = ReadMerge((*merges)[i]);
    if (!merge) {
      from.Fail(absl::StrCat("merges[", i, "]"), "is neither a pair of tokens nor two tokens with a space between");
      break;
    }
    bpe.merges.push_back(*std::move(merge));
  }
  return bpe;
}

WordPieceModel::Options ReadWordPiece(const JsonFields& from) {
  from.AllowOnly({"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  return {.unk_token = from.String("unk_token"),
          .continuing_subword_prefix = from.String("continuing_subword_prefix"),
          .max_input_chars_per_word = from.Count("max_input_chars_per_word")};
}

// Puts a token at its id. False where another is there.
bool Place(uint64_t id, std::string_view content, bool in_model, std::vector<std::optional<VocabularyToken>>* tokens) {
  if (id >= tokens->size()) tokens->resize(id + 1);
  std::optional<VocabularyToken>& place = (*tokens)[id];
  if (place) return place->content == content;
  place = VocabularyToken{.content = std::string(content), .in_model = in_model};
  return true;
}

AddedToken ReadAddedToken(const JsonFields& from) {
  from.AllowOnly({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token{.id = static_cast<uint32_t>(from.Count("id")),
                   .content = from.String("content"),
                   .single_word = from.Bool("single_word"),
                   .lstrip = from.Bool("lstrip"),
                   .rstrip = from.Bool("rstrip"),
                   .normalized = from.Bool("normalized"),
                   .special = from.Bool("special")};
  if (token.content.empty()) from.Fail("content", "is empty");
  return token;
}

// The vocabulary and the added tokens by id, which must be 0, 1, 2 and so on.
void ReadTokens(const JsonFields& root, const JsonFields& model, TokenizerSpec* spec) {
  // Far more than any vocabulary has, and few enough to make room for.
  constexpr uint64_t kIdMax = 1 << 26;
  std::vector<std::optional<VocabularyToken>> tokens;
  const Json* vocab = model.Find("vocab");
  if (vocab == nullptr || !vocab->is_object()) return model.Fail("vocab", "is not an object");
  for (const auto& [token, id] : vocab->items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kIdMax) {
      return model.Fail("vocab", absl::StrCat("the id of '", token, "' is not a number of 0 to ", kIdMax));
    }
    if (!Place(id.get<uint64_t>(), token, /*in_model=*/true, &tokens)) {
      return model.Fail("vocab", absl::StrCat("two tokens have id ", id.get<uint64_t>()));
    }
  }
  for (const JsonFields& each : root.Objects("added_tokens")) {
    AddedToken token = ReadAddedToken(each);
    const auto known = vocab->find(token.content);
    if (!root.ok()) return;
    if (known != vocab->end() && *known != token.id) {
      return each.Fail("id", absl::StrCat("is ", token.id, ", but model.vocab says ", known->dump()));
    }
    if (token.id > kIdMax || !Place(token.id, token.content, /*in_model=*/false, &tokens)) {
      return each.Fail("id", absl::StrCat(token.id, " is another token's"));
    }
    spec->added.push_back(std::move(token));
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id]) return model.Fail("vocab", absl::StrCat("no token has id ", id, " of 0 to ", tokens.size() - 1));
    spec->tokens.push_back(*std::move(tokens[id]));
  }
}

// Checks that a text comes out as [CLS] text [SEP], as rows are made.
void CheckPostProcessor(const JsonFields& from, const Tokenizer& tokenizer) {
  const std::string& cls = tokenizer.Token(tokenizer.special().cls);
  const std::string& sep = tokenizer.Token(tokenizer.special().sep);
  const std::string type = from.String("type");
  if (type == "Sequence") {
    for (const JsonFields& each : from.Objects("processors")) CheckPostProcessor(each, tokenizer);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const auto& [key, token] : {std::pair<const char*, const std::string*>{"cls", &cls}, {"sep", &sep}}) {
      const Json* value = from.Find(key);
      if (value == nullptr || !value->is_array() || value->empty() || (*value)[0] != *token) {
        from.Fail(key, absl::StrCat("is not ", *token));
      }
    }
  } else if (type == "TemplateProcessing") {
    std::vector<std::string> pieces;
    for (const JsonFields& piece : from.Objects("single")) {
      const bool special = piece.Find("SpecialToken") != nullptr;
      pieces.push_back(special ? piece.Object("SpecialToken").String("id") : "");
    }
    if (pieces != std::vector<std::string>{cls, "", sep}) {
      from.Fail("single", absl::StrCat("is not ", cls, " $A ", sep, ", as rows are made"));
    }
  } else if (type != "ByteLevel") {
    from.Fail("type", absl::StrCat("the post-processor '", type, "' is not supported"));
  }
}

// The post-processor with its fields in their order, and no more of the file.
std::string PostProcessorJson(std::string_view content) {
  using Ordered = nlohmann::ordered_json;
  const auto wanted = [](int depth, Ordered::parse_event_t event, const Ordered& parsed) {
    return depth != 1 || event != Ordered::parse_event_t::key || parsed == "post_processor";
  };
  return Ordered::parse(content, wanted, /*allow_exceptions=*/false)["post_processor"].dump();
}

// The same tokenizer in its fast form, where it is one of BERT's own.
std::unique_ptr<Tokenizer> AsWordPieceTokenizer(const TokenizerSpec& spec) {
  const auto* options = std::get_if<WordPieceModel::Options>(&spec.model);
  if (options == nullptr || options->unk_token != "[UNK]" || options->max_input_chars_per_word != kWordCodePointsMax ||
      options->continuing_subword_prefix != kContinuationPrefix) {
    return nullptr;
  }
  if (spec.normalizers.size() != 1 || spec.normalizers[0].kind != NormalizerStep::Kind::kBert ||
      !spec.normalizers[0].clean_text) {
    return nullptr;
  }
  if (spec.pretokenizers != std::vector<PretokenizerStep>{{.kind = PretokenizerStep::Kind::kBert}}) return nullptr;
  const DecoderSpec& decoder = spec.decoder;
  if (decoder.kind != DecoderSpec::Kind::kWordPiece || decoder.mark != kContinuationPrefix || !decoder.cleanup) {
    return nullptr;
  }
  if (spec.added.size() != kSpecialTokens.size()) return nullptr;
  for (const AddedToken& token : spec.added) {
    if (token != AddedToken{.id = token.id, .content = token.content, .special = true} ||
        std::find(kSpecialTokens.begin(), kSpecialTokens.end(), token.content) == kSpecialTokens.end()) {
      return nullptr;
    }
  }
  std::vector<std::string> tokens;
  for (const VocabularyToken& token : spec.tokens) {
    if (!token.in_model) return nullptr;
    tokens.push_back(token.content);
  }
  // Not every JSON string is a line of a vocab.txt.
  absl::StatusOr<Vocabulary> vocabulary = Vocabulary::FromTokens(std::move(tokens));
  if (!vocabulary.ok()) return nullptr;
  return std::make_unique<WordPieceTokenizer>(*std::move(vocabulary), spec.normalizers[0].bert);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizerJson(std::string_view content) {
  const Json json = Json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError("not JSON");
  absl::Status status;
  const JsonFields root(json, "", &status);
  root.AllowOnly({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                  "decoder", "model"});
  if (const std::string version = root.String("version"); version != "1.0") {
    root.Fail("version", absl::StrCat("is '", version, "', not 1.0"));
  }
  for (const char* key : {"truncation", "padding"}) {
    if (root.Find(key) != nullptr) root.Fail(key, "is not supported; make it null");
  }
  TokenizerSpec spec;
  if (root.Find("normalizer") != nullptr) ReadNormalizer(root.Object("normalizer"), &spec.normalizers);
  if (root.Find("pre_tokenizer") != nullptr) ReadPretokenizer(root.Object("pre_tokenizer"), &spec.pretokenizers);
  if (root.Find("decoder") != nullptr) spec.decoder = ReadDecoder(root.Object("decoder"));
  const JsonFields model = root.Object("model");
  if (const std::string type = model.String("type"); type == "BPE") {
    spec.model = ReadBpe(model);
  } else if (type == "WordPiece") {
    spec.model = ReadWordPiece(model);
  } else {
    model.Fail("type", absl::StrCat("the model '", type, "' is not supported"));
  }
  RETURN_IF_ERROR(status);
  ReadTokens(root, model, &spec);
  RETURN_IF_ERROR(status);
  const bool post_processed = root.Find("post_processor") != nullptr;
  if (post_processed) spec.post_processor_json = PostProcessorJson(content);
  std::unique_ptr<Tokenizer> tokenizer = AsWordPieceTokenizer(spec);
  if (tokenizer == nullptr) {
    ASSIGN_OR_RETURN(tokenizer, PipelineTokenizer::Create(std::move(spec)));
  }
  if (post_processed) CheckPostProcessor(root.Object("post_processor"), *tokenizer);
  RETURN_IF_ERROR(status);
  return tokenizer;
}

}  // namespace bert::text
