#include "dataloader/corpus/manifest.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/corpus/json_fields.h"
#include "dataloader/corpus/manifest_json.h"

namespace bert::corpus {
namespace {

constexpr char kFormat[] = "bert-dataset";
constexpr int kVersion = 1;

Json SplitJson(const SplitEntry& split) {
  return {{"documents", split.documents},
          {"words", split.words},
          {"tokens", split.tokens},
          {"shards", ToJson(split.shards)}};
}

std::string DigestOf(Json json) {
  json.erase("digest");
  return Digest(json.dump());
}

SplitEntry ReadSplit(const JsonFields& fields) {
  SplitEntry split{.documents = fields.Count("documents"),
                   .words = fields.Count("words"),
                   .tokens = fields.Count("tokens"),
                   .shards = ReadShards(fields, "shards")};
  int64_t documents = 0;
  int64_t tokens = 0;
  for (const ShardInfo& shard : split.shards) {
    documents += shard.documents;
    tokens += shard.tokens;
  }
  if (documents != split.documents) fields.Fail("documents", "is not the sum over its shards");
  if (tokens != split.tokens) fields.Fail("tokens", "is not the sum over its shards");
  return split;
}

}  // namespace

std::string FormatManifest(const Manifest& manifest) {
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"tokenizer",
                {{"type", manifest.tokenizer.type},
                 {"vocab_size", manifest.tokenizer.vocab_size},
                 {"lowercase", manifest.tokenizer.lowercase},
                 {"files", ToJson(manifest.tokenizer.files)}}},
               {"token_bytes", manifest.token_bytes},
               {"splits", {{"train", SplitJson(manifest.train)}, {"validation", SplitJson(manifest.validation)}}},
               {"unigram_cross_entropy", manifest.unigram_cross_entropy},
               {"sources", ToJson(manifest.sources)}};
  if (!manifest.corpora.empty()) json["corpora"] = ToJson(manifest.corpora);
  json["digest"] = DigestOf(json);
  return json.dump(2) + "\n";
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text, absl::string_view path) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError(absl::StrCat(path, ": not JSON"));
  absl::Status status;
  const JsonFields root(json, "", "the manifest", &status);
  if (!status.ok()) return Annotate(status, path);
  if (root.String("format") != kFormat) root.Fail("format", absl::StrCat("is not ", kFormat));
  if (root.Count("version") != kVersion) root.Fail("version", absl::StrCat("is not ", kVersion));
  const JsonFields tokenizer = root.Object("tokenizer");
  const JsonFields splits = root.Object("splits");
  Manifest manifest;
  manifest.digest = root.String("digest");
  manifest.tokenizer.type = tokenizer.String("type");
  const int64_t vocab_size = tokenizer.Count("vocab_size");
  if (vocab_size > INT32_MAX) tokenizer.Fail("vocab_size", "is too large");
  manifest.tokenizer.vocab_size = static_cast<int32_t>(vocab_size);
  manifest.tokenizer.lowercase = tokenizer.Bool("lowercase");
  manifest.tokenizer.files = ReadFiles(tokenizer, "files");
  for (const JsonFields& file : tokenizer.Array("files")) {
    if (!StaysInside(file.String("name"))) file.Fail("name", "leaves the tokenizer's directory");
  }
  const int64_t token_bytes = root.Count("token_bytes");
  if (token_bytes != 2 && token_bytes != 4) root.Fail("token_bytes", "is neither 2 nor 4");
  manifest.token_bytes = static_cast<int>(token_bytes);
  manifest.train = ReadSplit(splits.Object("train"));
  manifest.validation = ReadSplit(splits.Object("validation"));
  manifest.unigram_cross_entropy = root.Number("unigram_cross_entropy");
  if (root.Has("corpora")) manifest.corpora = ReadCorpora(root, "corpora");
  manifest.sources = ReadFiles(root, "sources");
  if (!status.ok()) return Annotate(status, path);
  if (const std::string actual = DigestOf(json); actual != manifest.digest) {
    return absl::DataLossError(absl::StrCat(path, ": digest is ", actual, ", but it says ", manifest.digest,
                                            ": the manifest was changed after the dataset was built"));
  }
  return manifest;
}

absl::Status CheckManifestBytes(std::string_view text, absl::string_view path) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_discarded() && json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" == text) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(path, ": not the bytes that were written, though they may mean the same"));
}

absl::StatusOr<Manifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestFile);
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is no dataset: it has no ", kManifestFile, "; make one with bert-data build"));
  }
  RETURN_IF_ERROR(text.status());
  return ParseManifest(*text, path);
}

absl::Status WriteManifest(const std::string& directory, Manifest* manifest) {
  const std::string path = absl::StrCat(directory, "/", kManifestFile);
  const std::string text = FormatManifest(*manifest);
  ASSIGN_OR_RETURN(const Manifest parsed, ParseManifest(text, path));
  RETURN_IF_ERROR(WriteFileDurably(path, text));
  manifest->digest = parsed.digest;
  return absl::OkStatus();
}

}  // namespace bert::corpus
