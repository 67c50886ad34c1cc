#include "dataloader/corpus/build_journal.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/corpus/json_fields.h"
#include "dataloader/corpus/manifest_json.h"

namespace bert::corpus {
namespace {

constexpr char kEntryFile[] = "build.json";
constexpr char kDigestFile[] = "digests.bin";
constexpr char kFormat[] = "bert-build";
constexpr int kVersion = 1;

std::string Join(const std::string& directory, const char* name) { return absl::StrCat(directory, "/", name); }

Json ToJson(const SplitState& split) {
  return {{"shards", corpus::ToJson(split.shards)},
          {"open_documents", split.open_documents},
          {"open_tokens", split.open_tokens},
          {"words", split.words},
          {"counts", split.counts}};
}

SplitState ReadSplitState(const JsonFields& fields) {
  return {.shards = ReadShards(fields, "shards"),
          .open_documents = fields.Count("open_documents"),
          .open_tokens = fields.Count("open_tokens"),
          .words = fields.Count("words"),
          .counts = fields.Counts("counts")};
}

std::string DigestOf(Json json) {
  json.erase("digest");
  return Digest(json.dump());
}

// The entry's state and how many digests it counts; DATA_LOSS: damaged, FAILED_PRECONDITION: of another build.
absl::StatusOr<std::pair<BuildState, int64_t>> Parse(const std::string& text, const BuildKey& key) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError("its journal is not JSON");
  absl::Status status;
  const JsonFields root(json, "", "its journal", &status);
  RETURN_IF_ERROR(status);
  if (root.String("format") != kFormat) root.Fail("format", absl::StrCat("is not ", kFormat));
  if (root.Count("version") != kVersion) root.Fail("version", absl::StrCat("is not ", kVersion));
  const std::string digest = root.String("digest");
  RETURN_IF_ERROR(status);
  if (digest != DigestOf(json)) return absl::DataLossError("its journal is damaged");
  for (const auto& [name, value, what] : {std::tuple("inputs", &key.inputs, "input files have changed"),
                                          std::tuple("tokenizer", &key.tokenizer, "it has another tokenizer"),
                                          std::tuple("options", &key.options, "it has other options")}) {
    if (root.String(name) != *value && status.ok()) status = absl::FailedPreconditionError(what);
  }
  RETURN_IF_ERROR(status);
  BuildState state;
  const JsonFields position = root.Object("position");
  state.position = {.file = static_cast<size_t>(position.Count("file")), .items = position.Count("items")};
  state.bytes_read = root.Count("bytes_read");
  state.sources = ReadFiles(root, "sources");
  state.corpora = ReadCorpora(root, "corpora");
  state.train = ReadSplitState(root.Object("train"));
  state.validation = ReadSplitState(root.Object("validation"));
  state.manifest_digest = root.String("manifest_digest");
  const int64_t digests = root.Count("digests");
  RETURN_IF_ERROR(status);
  return std::pair(std::move(state), digests);
}

}  // namespace

absl::StatusOr<BuildJournal::Remembered> BuildJournal::Read(const std::string& directory, const BuildKey& key) {
  Remembered remembered;
  const absl::StatusOr<std::string> text = ReadFile(Join(directory, kEntryFile));
  if (absl::IsNotFound(text.status())) return remembered;
  RETURN_IF_ERROR(text.status());
  auto parsed = Parse(*text, key);
  if (!parsed.ok()) {
    remembered.refusal = std::string(parsed.status().message());
    return remembered;
  }
  const absl::StatusOr<std::string> digests = ReadFile(Join(directory, kDigestFile));
  if (!digests.ok() && !absl::IsNotFound(digests.status())) return digests.status();
  const auto count = static_cast<size_t>(parsed->second);
  if (!digests.ok() || digests->size() / sizeof(DocumentDigest) < count) {
    remembered.refusal = "its journal lacks digests of documents";
    return remembered;
  }
  remembered.digests.resize(count);
  std::memcpy(remembered.digests.data(), digests->data(), count * sizeof(DocumentDigest));
  remembered.state = std::move(parsed->first);
  return remembered;
}

absl::StatusOr<std::unique_ptr<BuildJournal>> BuildJournal::Open(const std::string& directory, BuildKey key,
                                                                 int64_t digests) {
  std::unique_ptr<BuildJournal> journal(new BuildJournal(directory, std::move(key)));
  journal->has_entry_ = digests > 0;
  if (digests > 0) {
    ASSIGN_OR_RETURN(journal->digest_file_, AppendFile::Reopen(Join(directory, kDigestFile),
                                                               digests * static_cast<int64_t>(sizeof(DocumentDigest))));
    return journal;
  }
  RETURN_IF_ERROR(RemoveTree(directory));
  RETURN_IF_ERROR(MakeDirectories(directory));
  ASSIGN_OR_RETURN(journal->digest_file_, AppendFile::Create(Join(directory, kDigestFile)));
  return journal;
}

BuildJournal::BuildJournal(std::string directory, BuildKey key)
    : directory_(std::move(directory)), key_(std::move(key)) {}

absl::Status BuildJournal::AddDigests(absl::Span<const DocumentDigest> digests) {
  return digest_file_->Append(digests.data(), digests.size() * sizeof(DocumentDigest));
}

absl::Status BuildJournal::Write(const BuildState& state) {
  RETURN_IF_ERROR(digest_file_->Sync());
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"options", key_.options},
               {"tokenizer", key_.tokenizer},
               {"inputs", key_.inputs},
               {"position", {{"file", state.position.file}, {"items", state.position.items}}},
               {"bytes_read", state.bytes_read},
               {"digests", digest_file_->bytes() / static_cast<int64_t>(sizeof(DocumentDigest))},
               {"sources", corpus::ToJson(state.sources)},
               {"corpora", corpus::ToJson(state.corpora)},
               {"train", ToJson(state.train)},
               {"validation", ToJson(state.validation)},
               {"manifest_digest", state.manifest_digest}};
  json["digest"] = DigestOf(json);
  RETURN_IF_ERROR(WriteFileDurably(Join(directory_, kEntryFile), json.dump()));
  has_entry_ = true;
  return absl::OkStatus();
}

}  // namespace bert::corpus
