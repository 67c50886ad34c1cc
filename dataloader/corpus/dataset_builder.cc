#include "dataloader/corpus/dataset_builder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "dataloader/corpus/build_journal.h"
#include "dataloader/corpus/encoding_pipeline.h"
#include "dataloader/corpus/split_writer.h"
#include "dataloader/corpus/staged_directory.h"
#include "dataloader/documents/document_stream.h"
#include "dataloader/text/tokenizer.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;

std::string Join(const std::string& directory, const std::string& name) { return absl::StrCat(directory, "/", name); }

BuildKey KeyOf(const BuildOptions& options, const text::Tokenizer& tokenizer, const documents::InputFiles& inputs) {
  Digester settings;
  settings.Update(absl::StrFormat("%s %.17g %d %d", kVersion, options.validation_share, options.shard_tokens_max,
                                  options.strict ? 1 : 0));
  Digester vocabulary;
  for (const auto& [name, content] : text::TokenizerFiles(tokenizer)) {
    vocabulary.Update(absl::StrCat(name, " ", content.size(), "\n", content));
  }
  Digester files;
  for (const documents::InputFile& file : inputs.files) {
    files.Update(absl::StrCat(inputs.corpora[static_cast<size_t>(file.corpus)], "\n", file.name, "\n", file.bytes, " ",
                              file.modified_ns, " ", static_cast<int>(file.format), " ",
                              static_cast<int>(file.compression), " ", static_cast<int>(file.rule.unit), " ",
                              file.rule.rows, " ", file.rule.field, "\n"));
  }
  return {.options = settings.Finish(), .tokenizer = vocabulary.Finish(), .inputs = files.Finish()};
}

// Half as many threads read as tokenize: unpacking is the slowest kind of reading, and about twice as fast as
// tokenizing.
int ReaderThreads(const BuildOptions& options, size_t files) {
  return std::clamp((options.threads + 1) / 2, 1, std::max(1, static_cast<int>(files)));
}

// A build between the checks of its options and the rename.
class Build {
 public:
  Build(const BuildOptions& options, const text::Tokenizer& tokenizer, documents::InputFiles inputs,
        StagedDirectory* staged, std::string journal_directory)
      : options_(options),
        tokenizer_(tokenizer),
        inputs_(std::move(inputs)),
        staged_(staged),
        directory_(staged->staging_path()),
        journal_directory_(std::move(journal_directory)) {}

  absl::StatusOr<BuildReport> Run() {
    RETURN_IF_ERROR(Prepare());
    if (!state_.manifest_digest.empty()) return std::move(report_);
    RETURN_IF_ERROR(ReadAndWrite());
    if (train_->state().documents() == 0) {
      int64_t invalid = 0;
      int64_t empty = 0;
      for (const CorpusEntry& corpus : state_.corpora) {
        invalid += corpus.invalid_documents + corpus.damaged_files;
        empty += corpus.empty_documents;
      }
      return absl::InvalidArgumentError(absl::StrCat("no document for training: ", validation_->state().documents(),
                                                     " of validation, ", invalid, " not readable, ", empty, " empty"));
    }
    RETURN_IF_ERROR(WriteManifest());
    RETURN_IF_ERROR(RemoveLeftovers());
    state_.train = train_->state();
    state_.validation = validation_->state();
    state_.manifest_digest = report_.manifest.digest;
    RETURN_IF_ERROR(journal_->Write(state_));
    return std::move(report_);
  }

  // Whether the next build of this dataset can go on where this one has come to.
  bool resumable() const { return journal_ != nullptr && journal_->has_entry(); }

 private:
  SplitWriter::Options WriterOptions(SplitKind split) const {
    return {.directory = directory_,
            .split = split,
            .shard_tokens_max = options_.shard_tokens_max,
            .vocab_size = tokenizer_.size()};
  }

  // Opens everything, where an unfinished build left it or anew.
  absl::Status Prepare() {
    const BuildKey key = KeyOf(options_, tokenizer_, inputs_);
    ASSIGN_OR_RETURN(BuildJournal::Remembered remembered, BuildJournal::Read(journal_directory_, key));
    if (remembered.state && !remembered.digests.empty()) {
      if (const absl::Status opened = Reopen(*remembered.state); !opened.ok()) {
        remembered.refusal = std::string(opened.message());
        remembered.state.reset();
      }
    } else {
      remembered.state.reset();
    }
    if (remembered.state) {
      state_ = *std::move(remembered.state);
      report_.resumed_bytes = state_.bytes_read;
      spdlog::info("going on with the unfinished build in {} files_done={} files={} shards_done={}", directory_,
                   state_.position.file, inputs_.files.size(), state_.train.shards.size());
    } else {
      report_.restart_reason = std::move(remembered.refusal);
      if (!report_.restart_reason.empty()) {
        spdlog::warn("starting over: the unfinished build in {} cannot be gone on with: {}", directory_,
                     report_.restart_reason);
      }
      remembered.digests.clear();
      RETURN_IF_ERROR(staged_->Clear());
      RETURN_IF_ERROR(MakeDirectories(Join(directory_, kShardFolder)));
      RETURN_IF_ERROR(OpenWriters({}));
      for (const std::string& corpus : inputs_.corpora) state_.corpora.push_back({.name = corpus});
    }
    ASSIGN_OR_RETURN(journal_,
                     BuildJournal::Open(journal_directory_, key, static_cast<int64_t>(remembered.digests.size())));
    if (!state_.manifest_digest.empty()) return absl::OkStatus();
    const std::vector<documents::InputFile>& files = inputs_.files;
    stream_ = std::make_unique<documents::DocumentStream>(files, ReaderThreads(options_, files.size()), state_.position,
                                                          options_.batch_bytes);
    pipeline_ =
        std::make_unique<EncodingPipeline>(stream_.get(), &tokenizer_,
                                           EncodingPipeline::Options{.threads = options_.threads,
                                                                     .validation_share = options_.validation_share,
                                                                     .seen = std::move(remembered.digests)});
    for (const documents::InputFile& file : files) bytes_total_ += file.bytes;
    for (size_t f = 0; f < state_.position.file; ++f) bytes_done_ += files[f].bytes;
    return absl::OkStatus();
  }

  // Takes up what an unfinished build left. Where it lacked but the rename, what is there may be the old dataset that
  // it was exchanged for.
  absl::Status Reopen(const BuildState& state) {
    if (state.manifest_digest.empty()) return OpenWriters(state);
    ASSIGN_OR_RETURN(report_.manifest, ReadManifest(directory_));
    if (report_.manifest.digest == state.manifest_digest) return absl::OkStatus();
    return absl::FailedPreconditionError("it was finished, and is in its place");
  }

  absl::Status OpenWriters(const BuildState& state) {
    ASSIGN_OR_RETURN(train_, SplitWriter::Open(WriterOptions(SplitKind::kTrain), state.train));
    ASSIGN_OR_RETURN(validation_, SplitWriter::Open(WriterOptions(SplitKind::kValidation), state.validation));
    return absl::OkStatus();
  }

  absl::Status ReadAndWrite() {
    int64_t unrecorded_bytes = 0;
    while (true) {
      ShowProgress();
      if (options_.cancelled && options_.cancelled()) {
        RETURN_IF_ERROR(Record());
        return absl::CancelledError("the build was interrupted");
      }
      absl::StatusOr<std::optional<EncodedBatch>> batch = pipeline_->Next();
      if (!batch.ok()) {
        // The reason to stop is this one, whatever comes of what was built so far.
        Record().IgnoreError();
        return batch.status();
      }
      if (!batch->has_value()) return absl::OkStatus();
      const size_t shards_before = train_->state().shards.size();
      RETURN_IF_ERROR(Write(**batch));
      for (const EncodedBatch::Document& document : (*batch)->documents) unrecorded_bytes += document.text_bytes;
      if (unrecorded_bytes >= options_.journal_bytes || train_->state().shards.size() > shards_before) {
        RETURN_IF_ERROR(Record());
        unrecorded_bytes = 0;
      }
    }
  }

  void ShowProgress() const {
    if (!options_.progress) return;
    options_.progress({.bytes_read = state_.bytes_read,
                       .bytes_total = bytes_total_,
                       .documents = train_->state().documents() + validation_->state().documents(),
                       .tokens = train_->state().tokens() + validation_->state().tokens()});
  }

  absl::Status Write(const EncodedBatch& batch) {
    CorpusEntry& corpus = state_.corpora[static_cast<size_t>(inputs_.files[batch.file].corpus)];
    for (const documents::Fault& fault : batch.faults) {
      const bool whole_file = fault.kind == documents::Fault::Kind::kFile;
      if (options_.strict) return absl::InvalidArgumentError(fault.message);
      ++(whole_file ? corpus.damaged_files : corpus.invalid_documents);
      if (options_.report) {
        options_.report(absl::StrCat(fault.message, whole_file ? "; the rest of the file is left out" : "; left out"));
      }
    }
    const uint32_t unknown = tokenizer_.special().unk;
    size_t position = 0;
    for (const EncodedBatch::Document& document : batch.documents) {
      const absl::Span<const uint32_t> ids(&batch.token_ids[position], static_cast<size_t>(document.tokens));
      position += ids.size();
      RETURN_IF_ERROR((document.split == SplitKind::kTrain ? train_ : validation_)->Add(ids, document.words));
      ++corpus.documents;
      corpus.text_bytes += document.text_bytes;
      corpus.words += document.words;
      corpus.tokens += document.tokens;
      corpus.unknown_tokens += std::count(ids.begin(), ids.end(), unknown);
    }
    corpus.duplicate_documents += batch.duplicates;
    corpus.empty_documents += batch.empty;
    if (batch.end) {
      ++corpus.files;
      corpus.bytes += batch.end->bytes;
      bytes_done_ += inputs_.files[batch.file].bytes;
      state_.sources.push_back(
          {.name = inputs_.files[batch.file].name, .bytes = batch.end->bytes, .digest = batch.end->digest});
    }
    state_.position = batch.next;
    state_.bytes_read = bytes_done_ + (batch.end ? 0 : batch.bytes_read);
    return journal_->AddDigests(batch.digests);
  }

  // Makes everything up to here what a later build goes on from.
  absl::Status Record() {
    RETURN_IF_ERROR(train_->Sync());
    RETURN_IF_ERROR(validation_->Sync());
    RETURN_IF_ERROR(SyncDirectory(Join(directory_, kShardFolder)));
    RETURN_IF_ERROR(SyncDirectory(directory_));
    state_.train = train_->state();
    state_.validation = validation_->state();
    return journal_->Write(state_);
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
    ASSIGN_OR_RETURN(manifest.train, train_->Finish());
    ASSIGN_OR_RETURN(manifest.validation, validation_->Finish());
    manifest.unigram_cross_entropy = UnigramCrossEntropy(train_->state().counts, validation_->state().counts);
    manifest.corpora = state_.corpora;
    manifest.sources = state_.sources;
    RETURN_IF_ERROR(SyncDirectory(Join(directory_, kShardFolder)));
    RETURN_IF_ERROR(SyncDirectory(tokenizer_directory));
    return corpus::WriteManifest(directory_, &manifest);
  }

  // What builds that were killed wrote, and this one did not need.
  absl::Status RemoveLeftovers() const {
    std::set<std::string> wanted;
    for (const SplitEntry* split : {&report_.manifest.train, &report_.manifest.validation}) {
      for (const ShardInfo& shard : split->shards) wanted.insert(Join(directory_, shard.file));
    }
    for (const FileEntry& file : report_.manifest.tokenizer.files) {
      wanted.insert(Join(Join(directory_, kTokenizerFolder), file.name));
    }
    wanted.insert(Join(directory_, kManifestFile));
    std::error_code error;
    std::vector<std::string> leftovers;
    for (fs::recursive_directory_iterator it(directory_, error); it != fs::recursive_directory_iterator();) {
      if (!it->is_directory(error) && !wanted.contains(it->path().string())) leftovers.push_back(it->path().string());
      if (!error) it.increment(error);
      if (error) return SystemError(error.value(), absl::StrCat("cannot look through ", directory_));
    }
    for (const std::string& path : leftovers) RETURN_IF_ERROR(RemoveTree(path));
    return absl::OkStatus();
  }

  const BuildOptions& options_;
  const text::Tokenizer& tokenizer_;
  const documents::InputFiles inputs_;
  StagedDirectory* const staged_;
  const std::string directory_;
  const std::string journal_directory_;
  BuildState state_;
  int64_t bytes_total_ = 0;
  int64_t bytes_done_ = 0;  // Of files read to their end.
  BuildReport report_;
  std::unique_ptr<BuildJournal> journal_;
  std::unique_ptr<SplitWriter> train_;
  std::unique_ptr<SplitWriter> validation_;
  // The pipeline's threads read from the stream, so it ends first.
  std::unique_ptr<documents::DocumentStream> stream_;
  std::unique_ptr<EncodingPipeline> pipeline_;
};

absl::Status CheckOptions(const BuildOptions& options) {
  if (!(options.validation_share >= 0 && options.validation_share < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the validation share is ", options.validation_share, "; it must be at least 0 and below 1"));
  }
  if (options.shard_tokens_max < 1) return absl::InvalidArgumentError("a shard must hold at least one token");
  if (options.batch_bytes < 1) return absl::InvalidArgumentError("a batch needs at least a byte");
  if (options.journal_bytes < 1) return absl::InvalidArgumentError("the journal needs at least a byte between entries");
  if (options.threads < 1) return absl::InvalidArgumentError("at least one thread is needed");
  if (options.inputs.inputs.empty()) return absl::InvalidArgumentError("no input is given");
  if (options.output.empty()) return absl::InvalidArgumentError("no output directory is given");
  return absl::OkStatus();
}

// A dataset inside its own input would be read as text by the next build (its vocab.txt is a text file).
absl::Status CheckOutputIsOutsideInputs(const std::string& output, const std::vector<std::string>& directories) {
  std::error_code error;
  const fs::path place = fs::weakly_canonical(output, error);
  for (const std::string& input : directories) {
    const fs::path directory = fs::weakly_canonical(input, error);
    const auto [end, rest] = std::mismatch(directory.begin(), directory.end(), place.begin(), place.end());
    if (end == directory.end() || (std::next(end) == directory.end() && end->empty())) {
      return absl::InvalidArgumentError(
          absl::StrCat("the output ", output, " lies inside the input ", input, "; put it elsewhere"));
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
  ASSIGN_OR_RETURN(const std::string place, StagedDirectory::Place(options.output));
  const std::string journal = place + ".journal";
  if (const absl::Status is_free = CheckOutputIsFree(options.output, options.force); !is_free.ok()) {
    // A build that was killed just behind its rename has left its journal.
    std::error_code error;
    if (!fs::exists(place + ".partial", error)) RemoveTree(journal).IgnoreError();
    return is_free;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer, text::LoadTokenizer(options.tokenizer_directory));
  ASSIGN_OR_RETURN(documents::InputFiles inputs, documents::ListInputFiles(options.inputs));
  RETURN_IF_ERROR(CheckOutputIsOutsideInputs(options.output, inputs.directories));
  ASSIGN_OR_RETURN(const std::unique_ptr<StagedDirectory> staged, StagedDirectory::Open(options.output));
  absl::StatusOr<BuildReport> report = absl::UnknownError("not built");
  bool resumable = false;
  {
    Build build(options, *tokenizer, std::move(inputs), staged.get(), journal);
    report = build.Run();
    resumable = build.resumable() && !absl::IsInvalidArgument(report.status());
  }
  if (report.ok()) {
    if (const absl::Status committed = staged->Commit(); !committed.ok()) report = committed;
  }
  if (!report.ok() && resumable) {
    staged->Keep();
    return absl::Status(report.status().code(),
                        absl::StrCat(report.status().message(), "; what is built is in ", staged->staging_path(),
                                     ", and the same command goes on from there"));
  }
  // The journal goes last: without it a killed build would have to start over.
  const absl::Status removed = RemoveTree(journal);
  RETURN_IF_ERROR(report.status());
  RETURN_IF_ERROR(removed);
  return report;
}

}  // namespace bert::corpus
