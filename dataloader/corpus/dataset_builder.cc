#include "dataloader/corpus/dataset_builder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/corpus/shard.h"
#include "dataloader/corpus/staged_directory.h"
#include "dataloader/corpus/text_reader.h"
#include "dataloader/text/tokenizer.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;

// Read, tokenized and written in one go, for each thread.
constexpr size_t kWaveBytesPerThread = 4 << 20;

std::string Join(const std::string& directory, const std::string& name) { return absl::StrCat(directory, "/", name); }

// As `wc -w` counts.
int64_t CountWords(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return words;
}

struct EncodedDocument {
  std::string text;
  SplitKind split;
  int64_t words = 0;
  std::vector<uint32_t> ids;
};

// Writes one split, starting a new shard where the last is full.
class SplitWriter {
 public:
  SplitWriter(const std::string& directory, SplitKind split, const BuildOptions& options, size_t vocab_size)
      : directory_(directory),
        split_(split),
        shard_tokens_max_(options.shard_tokens_max),
        token_bytes_(TokenBytesFor(static_cast<int64_t>(vocab_size))),
        counts_(vocab_size) {}

  absl::Status Add(const EncodedDocument& document) {
    const auto tokens = static_cast<int64_t>(document.ids.size());
    if (shard_ != nullptr && shard_->tokens() + tokens > shard_tokens_max_) RETURN_IF_ERROR(FinishShard());
    if (shard_ == nullptr) {
      file_ = absl::StrFormat("%s/%s-%05d.bin", kShardFolder, std::string(SplitName(split_)), entry_.shards.size());
      ASSIGN_OR_RETURN(shard_, ShardWriter::Create(Join(directory_, file_), token_bytes_));
    }
    RETURN_IF_ERROR(shard_->Append(document.ids));
    ++entry_.documents;
    entry_.words += document.words;
    entry_.tokens += tokens;
    for (const uint32_t id : document.ids) ++counts_[id];
    return absl::OkStatus();
  }

  absl::StatusOr<SplitEntry> Finish() {
    if (shard_ != nullptr) RETURN_IF_ERROR(FinishShard());
    return entry_;
  }

  int64_t documents() const { return entry_.documents; }
  int64_t tokens() const { return entry_.tokens; }
  // Per token id.
  const std::vector<uint64_t>& counts() const { return counts_; }

 private:
  absl::Status FinishShard() {
    ASSIGN_OR_RETURN(ShardInfo info, shard_->Finish());
    info.file = file_;
    entry_.shards.push_back(std::move(info));
    shard_.reset();
    return absl::OkStatus();
  }

  const std::string directory_;
  const SplitKind split_;
  const int64_t shard_tokens_max_;
  const int token_bytes_;
  std::vector<uint64_t> counts_;
  SplitEntry entry_;
  std::unique_ptr<ShardWriter> shard_;
  std::string file_;
};

void EncodeAll(const text::Tokenizer& tokenizer, int threads, std::vector<EncodedDocument>* documents) {
  std::atomic<size_t> next = 0;
  const auto encode = [&] {
    for (size_t i = next++; i < documents->size(); i = next++) {
      EncodedDocument& document = (*documents)[i];
      document.words = CountWords(document.text);
      tokenizer.Encode(document.text, &document.ids, text::SpecialTokenText::kIsText);
    }
  };
  std::vector<std::jthread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(encode);
  encode();
}

// Everything of a build between the checks of its options and the rename.
class Build {
 public:
  Build(const BuildOptions& options, const text::Tokenizer& tokenizer, std::vector<TextFile> files,
        std::string directory)
      : options_(options),
        tokenizer_(tokenizer),
        directory_(std::move(directory)),
        train_(directory_, SplitKind::kTrain, options, tokenizer.size()),
        validation_(directory_, SplitKind::kValidation, options, tokenizer.size()) {
    for (const TextFile& file : files) progress_.bytes_total += file.bytes;
    reader_ = std::make_unique<TextReader>(std::move(files),
                                           TextReaderOptions{.strict = options.strict, .report = options.report});
  }

  absl::StatusOr<BuildReport> Run() {
    RETURN_IF_ERROR(MakeDirectories(Join(directory_, kShardFolder)));
    while (true) {
      if (options_.cancelled && options_.cancelled()) return absl::CancelledError("the build was interrupted");
      ASSIGN_OR_RETURN(std::vector<EncodedDocument> wave, ReadWave());
      if (wave.empty()) break;
      EncodeAll(tokenizer_, options_.threads, &wave);
      RETURN_IF_ERROR(Write(wave));
    }
    if (train_.documents() == 0) {
      return absl::InvalidArgumentError(absl::StrCat("no document for training: ", validation_.documents(),
                                                     " of validation, ", reader_->invalid_documents(), " not UTF-8, ",
                                                     report_.empty_documents, " empty"));
    }
    RETURN_IF_ERROR(WriteManifest());
    return std::move(report_);
  }

 private:
  absl::StatusOr<std::vector<EncodedDocument>> ReadWave() {
    std::vector<EncodedDocument> wave;
    const size_t bytes_max = kWaveBytesPerThread * static_cast<size_t>(options_.threads);
    for (size_t bytes = 0; bytes < bytes_max;) {
      ASSIGN_OR_RETURN(std::optional<std::string> text, reader_->Next());
      if (!text) break;
      // Two hashes of 64 bits: one alone would take two of a few billion documents for the same.
      if (!seen_.emplace(StableHash(*text, 0), StableHash(*text, 1)).second) {
        ++report_.duplicate_documents;
        continue;
      }
      bytes += text->size();
      const SplitKind split = SplitOf(*text, options_.validation_share);
      wave.push_back({.text = *std::move(text), .split = split, .words = 0, .ids = {}});
    }
    return wave;
  }

  absl::Status Write(const std::vector<EncodedDocument>& wave) {
    for (const EncodedDocument& document : wave) {
      if (document.ids.empty()) {
        ++report_.empty_documents;
        continue;
      }
      RETURN_IF_ERROR((document.split == SplitKind::kTrain ? train_ : validation_).Add(document));
    }
    progress_.bytes_read = reader_->bytes_read();
    progress_.documents = train_.documents() + validation_.documents();
    progress_.tokens = train_.tokens() + validation_.tokens();
    if (options_.progress) options_.progress(progress_);
    return absl::OkStatus();
  }

  // Writes the tokenizer, and the manifest last.
  absl::Status WriteManifest() {
    Manifest& manifest = report_.manifest;
    const std::string tokenizer_directory = Join(directory_, kTokenizerFolder);
    RETURN_IF_ERROR(text::WriteTokenizerFiles(tokenizer_, tokenizer_directory));
    manifest.tokenizer.type = std::string(tokenizer_.type());
    manifest.tokenizer.vocab_size = static_cast<int32_t>(tokenizer_.size());
    manifest.tokenizer.lowercase = tokenizer_.lowercase();
    for (const auto& [name, content] : text::TokenizerFiles(tokenizer_)) {
      manifest.tokenizer.files.push_back(
          {.name = name, .bytes = static_cast<int64_t>(content.size()), .digest = Digest(content)});
    }
    manifest.token_bytes = TokenBytesFor(manifest.tokenizer.vocab_size);
    ASSIGN_OR_RETURN(manifest.train, train_.Finish());
    ASSIGN_OR_RETURN(manifest.validation, validation_.Finish());
    manifest.unigram_cross_entropy = UnigramCrossEntropy(train_.counts(), validation_.counts());
    manifest.sources = reader_->sources();
    RETURN_IF_ERROR(SyncDirectory(Join(directory_, kShardFolder)));
    RETURN_IF_ERROR(SyncDirectory(tokenizer_directory));

    const uint32_t unknown = tokenizer_.special().unk;
    report_.unknown_tokens = static_cast<int64_t>(train_.counts()[unknown] + validation_.counts()[unknown]);
    report_.invalid_documents = reader_->invalid_documents();
    report_.files = static_cast<int64_t>(manifest.sources.size());
    report_.bytes = reader_->bytes_read();
    return corpus::WriteManifest(directory_, &manifest);
  }

  const BuildOptions& options_;
  const text::Tokenizer& tokenizer_;
  const std::string directory_;
  std::unique_ptr<TextReader> reader_;
  absl::flat_hash_set<std::pair<uint64_t, uint64_t>> seen_;
  SplitWriter train_;
  SplitWriter validation_;
  BuildProgress progress_;
  BuildReport report_;
};

absl::Status CheckOptions(const BuildOptions& options) {
  if (!(options.validation_share >= 0 && options.validation_share < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the validation share is ", options.validation_share, "; it must be at least 0 and below 1"));
  }
  if (options.shard_tokens_max < 1) return absl::InvalidArgumentError("a shard must hold at least one token");
  if (options.threads < 1) return absl::InvalidArgumentError("at least one thread is needed");
  if (options.inputs.empty()) return absl::InvalidArgumentError("no input is given");
  if (options.output.empty()) return absl::InvalidArgumentError("no output directory is given");
  return absl::OkStatus();
}

// A dataset inside its own input would be read as text by the next build (its vocab.txt is a text file).
absl::Status CheckOutputIsOutsideInputs(const BuildOptions& options) {
  std::error_code error;
  const fs::path output = fs::weakly_canonical(options.output, error);
  for (const std::string& input : options.inputs) {
    const fs::path directory = fs::weakly_canonical(input, error);
    if (!fs::is_directory(directory, error)) continue;
    const auto [end, rest] = std::mismatch(directory.begin(), directory.end(), output.begin(), output.end());
    if (end == directory.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the output ", options.output, " lies inside the input ", input, "; put it elsewhere"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOutputIsFree(const std::string& output, bool force) {
  std::error_code error;
  const fs::file_status status = fs::status(output, error);
  if (status.type() == fs::file_type::not_found) return absl::OkStatus();
  if (error) return SystemError(error.value(), absl::StrCat("cannot look at ", output));
  if (!fs::is_directory(status)) {
    return absl::AlreadyExistsError(absl::StrCat(output, " already exists and is not a directory"));
  }
  if (fs::is_empty(output, error)) return absl::OkStatus();
  if (!force) return absl::AlreadyExistsError(absl::StrCat(output, " already exists; --force replaces it"));
  for (const fs::directory_entry& entry : fs::directory_iterator(output, error)) {
    const std::string name = entry.path().filename().string();
    if (name != kManifestFile && name != kTokenizerFolder && name != kShardFolder) {
      return absl::AlreadyExistsError(
          absl::StrCat(output, " holds ", name, ", which is no part of a dataset; it is not replaced"));
    }
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot look at ", output));
  return absl::OkStatus();
}

}  // namespace

SplitKind SplitOf(std::string_view document, double validation_share) {
  // 53 bits of the hash as a fraction in [0, 1): exact in a double, so the comparison is the same everywhere.
  const double fraction = std::ldexp(static_cast<double>(StableHash(document, 0) >> 11), -53);
  return fraction < validation_share ? SplitKind::kValidation : SplitKind::kTrain;
}

double UnigramCrossEntropy(absl::Span<const uint64_t> train_counts, absl::Span<const uint64_t> validation_counts) {
  BERT_CHECK(train_counts.size() == validation_counts.size());
  double train_total = static_cast<double>(train_counts.size());
  for (const uint64_t count : train_counts) train_total += static_cast<double>(count);
  double nats = 0;
  double validation_total = 0;
  for (size_t id = 0; id < train_counts.size(); ++id) {
    const auto count = static_cast<double>(validation_counts[id]);
    validation_total += count;
    nats -= count * std::log((static_cast<double>(train_counts[id]) + 1) / train_total);
  }
  return validation_total == 0 ? 0 : nats / validation_total;
}

absl::StatusOr<BuildReport> BuildDataset(const BuildOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  RETURN_IF_ERROR(CheckOutputIsFree(options.output, options.force));
  RETURN_IF_ERROR(CheckOutputIsOutsideInputs(options));
  ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer, text::LoadTokenizer(options.tokenizer_directory));
  ASSIGN_OR_RETURN(std::vector<TextFile> files, ListTextFiles(options.inputs));
  ASSIGN_OR_RETURN(const std::unique_ptr<StagedDirectory> staged, StagedDirectory::Create(options.output));
  Build build(options, *tokenizer, std::move(files), staged->staging_path());
  ASSIGN_OR_RETURN(BuildReport report, build.Run());
  RETURN_IF_ERROR(staged->Commit());
  return report;
}

}  // namespace bert::corpus
