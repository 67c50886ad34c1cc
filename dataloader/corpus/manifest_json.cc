#include "dataloader/corpus/manifest_json.h"

#include "absl/strings/str_split.h"

namespace bert::corpus {

Json ToJson(const std::vector<FileEntry>& files) {
  Json array = Json::array();
  for (const FileEntry& file : files) {
    array.push_back({{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest}});
  }
  return array;
}

Json ToJson(const std::vector<ShardInfo>& shards) {
  Json array = Json::array();
  for (const ShardInfo& shard : shards) {
    array.push_back({{"file", shard.file},
                     {"bytes", shard.bytes},
                     {"digest", shard.digest},
                     {"documents", shard.documents},
                     {"tokens", shard.tokens}});
  }
  return array;
}

Json ToJson(const std::vector<CorpusEntry>& corpora) {
  Json array = Json::array();
  for (const CorpusEntry& corpus : corpora) {
    array.push_back({{"name", corpus.name},
                     {"files", corpus.files},
                     {"bytes", corpus.bytes},
                     {"damaged_files", corpus.damaged_files},
                     {"documents", corpus.documents},
                     {"text_bytes", corpus.text_bytes},
                     {"words", corpus.words},
                     {"tokens", corpus.tokens},
                     {"unknown_tokens", corpus.unknown_tokens},
                     {"duplicate_documents", corpus.duplicate_documents},
                     {"invalid_documents", corpus.invalid_documents},
                     {"empty_documents", corpus.empty_documents}});
  }
  return array;
}

std::vector<FileEntry> ReadFiles(const JsonFields& fields, const char* key) {
  std::vector<FileEntry> files;
  for (const JsonFields& file : fields.Array(key)) {
    files.push_back({.name = file.String("name"), .bytes = file.Count("bytes"), .digest = file.String("digest")});
  }
  return files;
}

std::vector<ShardInfo> ReadShards(const JsonFields& fields, const char* key) {
  std::vector<ShardInfo> shards;
  for (const JsonFields& shard : fields.Array(key)) {
    shards.push_back({.file = shard.String("file"),
                      .bytes = shard.Count("bytes"),
                      .digest = shard.String("digest"),
                      .documents = shard.Count("documents"),
                      .tokens = shard.Count("tokens")});
    if (!StaysInside(shards.back().file)) shard.Fail("file", "leaves the dataset's directory");
  }
  return shards;
}

std::vector<CorpusEntry> ReadCorpora(const JsonFields& fields, const char* key) {
  std::vector<CorpusEntry> corpora;
  for (const JsonFields& corpus : fields.Array(key)) {
    corpora.push_back({.name = corpus.String("name"),
                       .files = corpus.Count("files"),
                       .bytes = corpus.Count("bytes"),
                       .damaged_files = corpus.Count("damaged_files"),
                       .documents = corpus.Count("documents"),
                       .text_bytes = corpus.Count("text_bytes"),
                       .words = corpus.Count("words"),
                       .tokens = corpus.Count("tokens"),
                       .unknown_tokens = corpus.Count("unknown_tokens"),
                       .duplicate_documents = corpus.Count("duplicate_documents"),
                       .invalid_documents = corpus.Count("invalid_documents"),
                       .empty_documents = corpus.Count("empty_documents")});
  }
  return corpora;
}

bool StaysInside(absl::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != absl::string_view::npos) return false;
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

}  // namespace bert::corpus
