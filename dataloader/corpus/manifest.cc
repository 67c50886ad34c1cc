#include "dataloader/corpus/manifest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::corpus {
namespace {

using Json = nlohmann::json;  // Objects keep their keys sorted, which makes dump() canonical.

constexpr char kFormat[] = "bert-dataset";
constexpr int kVersion = 1;

Json ToJson(const FileEntry& file) { return {{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest}}; }

Json ToJson(const std::vector<FileEntry>& files) {
  Json array = Json::array();
  for (const FileEntry& file : files) array.push_back(ToJson(file));
  return array;
}

Json ToJson(const SplitEntry& split) {
  Json shards = Json::array();
  for (const ShardInfo& shard : split.shards) {
    shards.push_back({{"file", shard.file},
                      {"bytes", shard.bytes},
                      {"digest", shard.digest},
                      {"documents", shard.documents},
                      {"tokens", shard.tokens}});
  }
  return {
      {"documents", split.documents}, {"words", split.words}, {"tokens", split.tokens}, {"shards", std::move(shards)}};
}

std::string DigestOf(Json json) {
  json.erase("digest");
  return Digest(json.dump());
}

// Reads fields of one JSON value; the first mistake sticks and names the field by its path from the root.
class Reader {
 public:
  Reader(const Json& json, std::string where, absl::Status* status) : json_(json), where_(where), status_(status) {
    if (!json_.is_object()) Fail("", "is not an object");
  }

  std::string String(const char* key) const {
    const Json* value = Find(key, &Json::is_string, "a string");
    return value == nullptr ? "" : value->get<std::string>();
  }
  bool Bool(const char* key) const {
    const Json* value = Find(key, &Json::is_boolean, "true or false");
    return value != nullptr && value->get<bool>();
  }
  double Number(const char* key) const {
    const Json* value = Find(key, &Json::is_number, "a number");
    return value == nullptr ? 0 : value->get<double>();
  }
  int64_t Count(const char* key) const {
    const Json* value = Find(key, &Json::is_number_unsigned, "a whole number >= 0");
    if (value == nullptr) return 0;
    const auto count = value->get<uint64_t>();
    if (count <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(count);
    Fail(key, "is too large");
    return 0;
  }
  Reader Object(const char* key) const {
    const Json* value = Find(key, &Json::is_object, "an object");
    return Reader(value == nullptr ? kNothing : *value, Path(key), status_);
  }
  std::vector<Reader> Array(const char* key) const {
    std::vector<Reader> readers;
    const Json* value = Find(key, &Json::is_array, "an array");
    for (size_t i = 0; value != nullptr && i < value->size(); ++i) {
      readers.emplace_back((*value)[i], absl::StrCat(Path(key), "[", i, "]"), status_);
    }
    return readers;
  }
  void Fail(absl::string_view key, absl::string_view what) const {
    if (status_->ok()) *status_ = absl::DataLossError(absl::StrCat(Path(key), " ", what));
  }

 private:
  static const Json kNothing;

  std::string Path(absl::string_view key) const {
    if (key.empty()) return where_.empty() ? "the manifest" : where_;
    return where_.empty() ? std::string(key) : absl::StrCat(where_, ".", key);
  }
  const Json* Find(const char* key, bool (Json::*is_type)() const, const char* type) const {
    const auto found = json_.find(key);
    if (found == json_.end()) {
      Fail(key, "is missing");
      return nullptr;
    }
    if (!((*found).*is_type)()) {
      Fail(key, absl::StrCat("is not ", type));
      return nullptr;
    }
    return &*found;
  }

  const Json& json_;
  std::string where_;
  absl::Status* status_;
};

const Json Reader::kNothing = Json::object();

// Digests identify content, they do not authenticate it: a manifest from elsewhere must not name files outside.
bool StaysInside(absl::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != absl::string_view::npos) return false;
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

FileEntry ReadFileEntry(const Reader& reader) {
  return {.name = reader.String("name"), .bytes = reader.Count("bytes"), .digest = reader.String("digest")};
}

SplitEntry ReadSplit(const Reader& reader) {
  SplitEntry split{.documents = reader.Count("documents"),
                   .words = reader.Count("words"),
                   .tokens = reader.Count("tokens"),
                   .shards = {}};
  int64_t documents = 0;
  int64_t tokens = 0;
  for (const Reader& shard : reader.Array("shards")) {
    split.shards.push_back({.file = shard.String("file"),
                            .bytes = shard.Count("bytes"),
                            .digest = shard.String("digest"),
                            .documents = shard.Count("documents"),
                            .tokens = shard.Count("tokens")});
    if (!StaysInside(split.shards.back().file)) shard.Fail("file", "leaves the dataset's directory");
    documents += split.shards.back().documents;
    tokens += split.shards.back().tokens;
  }
  if (documents != split.documents) reader.Fail("documents", "is not the sum over its shards");
  if (tokens != split.tokens) reader.Fail("tokens", "is not the sum over its shards");
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
               {"splits", {{"train", ToJson(manifest.train)}, {"validation", ToJson(manifest.validation)}}},
               {"unigram_cross_entropy", manifest.unigram_cross_entropy},
               {"sources", ToJson(manifest.sources)}};
  json["digest"] = DigestOf(json);
  return json.dump(2) + "\n";
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text, absl::string_view path) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError(absl::StrCat(path, ": not JSON"));
  absl::Status status;
  const Reader root(json, "", &status);
  if (!status.ok()) return Annotate(status, path);
  if (root.String("format") != kFormat) root.Fail("format", absl::StrCat("is not ", kFormat));
  if (root.Count("version") != kVersion) root.Fail("version", absl::StrCat("is not ", kVersion));
  const Reader tokenizer = root.Object("tokenizer");
  const Reader splits = root.Object("splits");
  Manifest manifest;
  manifest.digest = root.String("digest");
  manifest.tokenizer.type = tokenizer.String("type");
  const int64_t vocab_size = tokenizer.Count("vocab_size");
  if (vocab_size > INT32_MAX) tokenizer.Fail("vocab_size", "is too large");
  manifest.tokenizer.vocab_size = static_cast<int32_t>(vocab_size);
  manifest.tokenizer.lowercase = tokenizer.Bool("lowercase");
  for (const Reader& file : tokenizer.Array("files")) {
    manifest.tokenizer.files.push_back(ReadFileEntry(file));
    if (!StaysInside(manifest.tokenizer.files.back().name)) file.Fail("name", "leaves the tokenizer's directory");
  }
  const int64_t token_bytes = root.Count("token_bytes");
  if (token_bytes != 2 && token_bytes != 4) root.Fail("token_bytes", "is neither 2 nor 4");
  manifest.token_bytes = static_cast<int>(token_bytes);
  manifest.train = ReadSplit(splits.Object("train"));
  manifest.validation = ReadSplit(splits.Object("validation"));
  manifest.unigram_cross_entropy = root.Number("unigram_cross_entropy");
  for (const Reader& source : root.Array("sources")) manifest.sources.push_back(ReadFileEntry(source));
  if (!status.ok()) return Annotate(status, path);
  if (const std::string actual = DigestOf(json); actual != manifest.digest) {
    return absl::DataLossError(absl::StrCat(path, ": digest is ", actual, ", but it says ", manifest.digest,
                                            ": the manifest was changed after the dataset was built"));
  }
  return manifest;
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
