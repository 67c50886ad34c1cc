#include "dataloader/corpus/dataset.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::corpus {
namespace {

constexpr char kVocabularyFile[] = "vocab.txt";
constexpr int kSpecialTokens = 5;

absl::Status VocabularyMismatch(absl::string_view path, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(path, ": the vocabulary does not match the dataset: ", why,
                                                    "; restore the tokenizer it was built with, or build it again"));
}

absl::Status WrongDigest(absl::string_view path, absl::string_view actual, absl::string_view expected) {
  return absl::DataLossError(absl::StrCat(path, ": damaged: digest is ", actual, ", the manifest says ", expected));
}

// DATA_LOSS where a file the manifest names is not there: the dataset is there, but not whole.
absl::Status MissingIsDamage(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::DataLossError(status.message()) : status;
}

absl::Status CheckContents(const ShardReader& shard, const ShardInfo& info, int32_t vocab_size) {
  if (const std::string digest = Digest(shard.contents()); digest != info.digest) {
    return WrongDigest(shard.path(), digest, info.digest);
  }
  if (const int64_t position = shard.FindTokenAtLeast(static_cast<uint32_t>(vocab_size)); position >= 0) {
    int32_t id = 0;
    shard.CopyTokens(position, 1, &id);
    return VocabularyMismatch(shard.path(), absl::StrCat("token ", position, " has id ", static_cast<uint32_t>(id),
                                                         ", the vocabulary has ", vocab_size, " entries"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<VocabularyFacts> ParseVocabulary(absl::string_view content, absl::string_view path) {
  VocabularyFacts facts;
  std::map<absl::string_view, int32_t> ids;
  while (!content.empty()) {
    const size_t end = content.find('\n');
    const absl::string_view piece = content.substr(0, end);
    content.remove_prefix(end == absl::string_view::npos ? content.size() : end + 1);
    const auto line = static_cast<int32_t>(facts.is_continuation.size()) + 1;
    if (piece.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ":", line, ": an empty line"));
    const auto [other, inserted] = ids.emplace(piece, line - 1);
    if (!inserted) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", line, ": '", piece, "' is already in line ", other->second + 1));
    }
    facts.is_continuation.push_back(piece.size() > 2 && piece.substr(0, 2) == "##" ? 1 : 0);
  }
  facts.vocab_size = static_cast<int32_t>(facts.is_continuation.size());
  for (const auto& [name, id] : {std::pair<absl::string_view, int32_t*>{"[PAD]", &facts.pad_id},
                                 {"[UNK]", &facts.unk_id},
                                 {"[CLS]", &facts.cls_id},
                                 {"[SEP]", &facts.sep_id},
                                 {"[MASK]", &facts.mask_id}}) {
    const auto found = ids.find(name);
    if (found == ids.end()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", name, " is missing"));
    *id = found->second;
  }
  if (facts.vocab_size <= kSpecialTokens) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no pieces but special tokens"));
  }
  return facts;
}

VocabularyFacts FactsOf(const text::Tokenizer& tokenizer) {
  const text::SpecialIds& special = tokenizer.special();
  VocabularyFacts facts{.vocab_size = static_cast<int32_t>(tokenizer.size()),
                        .pad_id = static_cast<int32_t>(special.pad),
                        .unk_id = static_cast<int32_t>(special.unk),
                        .cls_id = static_cast<int32_t>(special.cls),
                        .sep_id = static_cast<int32_t>(special.sep),
                        .mask_id = static_cast<int32_t>(special.mask),
                        .is_continuation = {},
                        .ends_word = {}};
  for (uint32_t id = 0; id < tokenizer.size(); ++id) {
    facts.is_continuation.push_back(tokenizer.ContinuesWord(id) ? 1 : 0);
    facts.ends_word.push_back(tokenizer.EndsWord(id) ? 1 : 0);
  }
  if (std::find(facts.ends_word.begin(), facts.ends_word.end(), 1) == facts.ends_word.end()) facts.ends_word.clear();
  return facts;
}

absl::string_view SplitName(SplitKind split) { return split == SplitKind::kTrain ? "train" : "validation"; }

SplitView::SplitView(std::vector<ShardReader> shards)
    : shards_(std::move(shards)), first_document_{0}, first_token_{0} {
  for (const ShardReader& shard : shards_) {
    first_document_.push_back(first_document_.back() + shard.documents());
    first_token_.push_back(first_token_.back() + shard.tokens());
  }
}

int SplitView::ShardOfDocument(int64_t document) const {
  const auto after = std::upper_bound(first_document_.begin(), first_document_.end(), document);
  return static_cast<int>(after - first_document_.begin()) - 1;
}

int64_t SplitView::DocumentBegin(int64_t document) const {
  if (document == documents()) return tokens();
  const int shard = ShardOfDocument(document);
  return first_token_[shard] + static_cast<int64_t>(shards_[shard].offsets()[document - first_document_[shard]]);
}

size_t SplitView::ShardOfToken(int64_t token) const {
  const auto after = std::upper_bound(first_token_.begin(), first_token_.end(), token);
  return static_cast<size_t>(after - first_token_.begin()) - 1;
}

void SplitView::Prefetch(int64_t begin, int64_t count) const {
  const size_t shard = ShardOfToken(begin);
  if (shard < shards_.size()) shards_[shard].Prefetch(begin - first_token_[shard], count);
}

bool SplitView::InOneShard(int64_t begin, int64_t count) const {
  // Not begin + count, which may be anything.
  if (begin < 0 || begin >= tokens() || count <= 0) return false;
  return count <= first_token_[ShardOfToken(begin) + 1] - begin;
}

void SplitView::CopyTokens(int64_t begin, int64_t count, int32_t* out) const {
  const size_t shard = ShardOfToken(begin);
  BERT_CHECK(begin >= 0 && shard < shards_.size() && begin + count <= first_token_[shard + 1])
      << "tokens " << begin << " + " << count;
  shards_[shard].CopyTokens(begin - first_token_[shard], count, out);
}

absl::StatusOr<std::shared_ptr<const Dataset>> Dataset::Open(const std::string& directory, OpenOptions options) {
  std::shared_ptr<Dataset> dataset(new Dataset());
  dataset->directory_ = directory;
  ASSIGN_OR_RETURN(dataset->manifest_, ReadManifest(directory));
  RETURN_IF_ERROR(dataset->LoadTokenizer());
  ASSIGN_OR_RETURN(dataset->train_, dataset->LoadSplit(dataset->manifest_.train, options));
  ASSIGN_OR_RETURN(dataset->validation_, dataset->LoadSplit(dataset->manifest_.validation, options));
  return dataset;
}

absl::Status Dataset::LoadTokenizer() {
  const std::string folder = absl::StrCat(directory_, "/", kTokenizerFolder);
  bool has_vocabulary = false;
  for (const FileEntry& file : manifest_.tokenizer.files) {
    const std::string path = absl::StrCat(folder, "/", file.name);
    absl::StatusOr<std::string> content = ReadFile(path);
    if (!content.ok()) return MissingIsDamage(content.status());
    if (const std::string digest = Digest(*content); digest != file.digest) {
      return VocabularyMismatch(path, absl::StrCat("digest is ", digest, ", the manifest says ", file.digest));
    }
    if (file.name == kVocabularyFile) {
      ASSIGN_OR_RETURN(vocabulary_, ParseVocabulary(*content, path));
      has_vocabulary = true;
    }
    tokenizer_files_.push_back({file.name, *std::move(content)});
  }
  if (!has_vocabulary) {
    // What has no vocab.txt has a tokenizer.json, whose digest was checked like all others.
    const absl::StatusOr<std::unique_ptr<text::Tokenizer>> tokenizer = text::LoadTokenizer(folder);
    if (!tokenizer.ok()) return MissingIsDamage(tokenizer.status());
    vocabulary_ = FactsOf(**tokenizer);
  }
  if (vocabulary_.vocab_size != manifest_.tokenizer.vocab_size) {
    return VocabularyMismatch(folder, absl::StrCat("it has ", vocabulary_.vocab_size, " entries, the manifest says ",
                                                   manifest_.tokenizer.vocab_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SplitView>> Dataset::LoadSplit(const SplitEntry& entry,
                                                              const OpenOptions& options) const {
  std::vector<ShardReader> shards;
  for (const ShardInfo& info : entry.shards) {
    absl::StatusOr<ShardReader> shard = ShardReader::Open(absl::StrCat(directory_, "/", info.file));
    if (!shard.ok()) return MissingIsDamage(shard.status());
    if (static_cast<int64_t>(shard->contents().size()) != info.bytes || shard->documents() != info.documents ||
        shard->tokens() != info.tokens || shard->token_bytes() != manifest_.token_bytes) {
      return absl::DataLossError(absl::StrCat(shard->path(), ": has ", shard->contents().size(), " bytes, ",
                                              shard->documents(), " documents, ", shard->tokens(), " tokens of ",
                                              shard->token_bytes(), " bytes; the manifest says ", info.bytes, ", ",
                                              info.documents, ", ", info.tokens, " of ", manifest_.token_bytes));
    }
    if (options.check_contents) RETURN_IF_ERROR(CheckContents(*shard, info, vocabulary_.vocab_size));
    shards.push_back(*std::move(shard));
  }
  return std::make_unique<SplitView>(std::move(shards));
}

absl::Status Verify(const std::string& directory) {
  const std::string manifest_path = absl::StrCat(directory, "/", kManifestFile);
  ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> dataset, Dataset::Open(directory));
  ASSIGN_OR_RETURN(const std::string manifest, ReadFile(manifest_path));
  RETURN_IF_ERROR(CheckManifestBytes(manifest, manifest_path));
  const VocabularyFacts& vocabulary = dataset->vocabulary();
  for (const SplitKind kind : {SplitKind::kTrain, SplitKind::kValidation}) {
    for (const ShardReader& shard : dataset->split(kind).shards()) {
      for (const int32_t id : {vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id}) {
        if (const int64_t position = shard.FindToken(static_cast<uint32_t>(id)); position >= 0) {
          return absl::DataLossError(
              absl::StrCat(shard.path(), ": token ", position, " is the special token with id ", id));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bert::corpus
