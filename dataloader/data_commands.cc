#include "dataloader/data_commands.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/corpus/dataset_builder.h"
#include "dataloader/dataset_summary.h"
#include "dataloader/documents/document_stream.h"
#include "dataloader/progress_line.h"
#include "dataloader/text/tokenizer_files.h"
#include "dataloader/text/trained_tokenizer.h"
#include "dataloader/text/vocabulary_trainer.h"

namespace bert::data {
namespace {

constexpr int kWarningsMax = 10;

constexpr ProgressUnit kTokens = {.name = "tokens", .size = 1, .digits = 0};

constexpr std::pair<std::string_view, text::VocabularyKind> kKinds[] = {
    {"wordpiece", text::VocabularyKind::kWordPiece},
    {"wordpiece-score", text::VocabularyKind::kWordPieceByScore},
    {"bpe", text::VocabularyKind::kBpe},
    {"byte-level-bpe", text::VocabularyKind::kByteLevelBpe},
};

absl::StatusOr<text::VocabularyKind> ParseKind(std::string_view type) {
  for (const auto& [name, kind] : kKinds) {
    if (name == type) return kind;
  }
  return absl::InvalidArgumentError(absl::StrCat("--type '", std::string(type), "' is not known"));
}

// Logs the first few things that are left out; a corpus in another encoding has one on every line.
class LeftOutLog {
 public:
  void Add(const std::string& line) {
    if (++count_ <= kWarningsMax) spdlog::warn("{}", line);
    if (count_ == kWarningsMax) spdlog::warn("what else cannot be read is only counted");
  }

 private:
  int64_t count_ = 0;
};

double SecondsSince(absl::Duration start, Clock& clock) { return absl::ToDoubleSeconds(clock.Monotonic() - start); }

absl::Status Flushed(std::ostream& out) {
  out.flush();
  return out ? absl::OkStatus() : absl::InternalError("cannot write the output");
}

// The same vocabulary again is no harm: it comes from running a command twice.
absl::Status CheckTokenizerOutput(const TrainTokenizerFlags& flags, const text::Tokenizer& tokenizer) {
  if (flags.force) return absl::OkStatus();
  for (const auto& [name, content] : text::TokenizerFiles(tokenizer)) {
    const std::string path = absl::StrCat(flags.output, "/", name);
    const absl::StatusOr<std::string> existing = ReadFile(path);
    if (absl::IsNotFound(existing.status()) || (existing.ok() && *existing == content)) continue;
    RETURN_IF_ERROR(existing.status());
    return absl::AlreadyExistsError(absl::StrCat(path, " already exists and differs; --force replaces it"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainTokenizer(const TrainTokenizerFlags& flags, const Terminal& terminal) {
  const absl::Duration start = terminal.clock.Monotonic();
  ASSIGN_OR_RETURN(const text::VocabularyKind kind, ParseKind(flags.type));
  ASSIGN_OR_RETURN(documents::InputFiles inputs, documents::ListInputFiles({.inputs = flags.inputs}));
  int64_t bytes_total = 0;
  for (const documents::InputFile& file : inputs.files) bytes_total += file.bytes;
  LeftOutLog left_out;
  documents::DocumentStream stream(std::move(inputs.files), /*readers=*/1);
  int64_t bytes_done = 0;
  std::optional<ProgressLine> merging;
  text::VocabularyTrainer trainer({.kind = kind,
                                   .vocab_size = flags.vocab_size,
                                   .min_frequency = flags.min_frequency,
                                   .alphabet_limit = flags.alphabet_limit,
                                   .normalizer = {.lowercase = !flags.cased},
                                   .threads = flags.threads,
                                   .progress = [&](size_t tokens) {
                                     merging->Update(static_cast<int64_t>(tokens),
                                                     static_cast<int64_t>(flags.vocab_size));
                                   }});
  {
    ProgressLine progress("counting words", terminal.err, terminal.err_is_terminal, terminal.clock);
    while (true) {
      ASSIGN_OR_RETURN(std::optional<documents::DocumentBatch> batch, stream.Next());
      if (!batch) break;
      for (const documents::Fault& fault : batch->faults) {
        if (flags.strict) return absl::InvalidArgumentError(fault.message);
        left_out.Add(fault.message);
      }
      for (std::string& document : batch->documents) trainer.AddText(std::move(document));
      if (batch->end) bytes_done += batch->end->bytes;
      progress.Update(bytes_done + (batch->end ? 0 : batch->bytes_read), bytes_total);
    }
  }
  merging.emplace("merging pairs", terminal.err, terminal.err_is_terminal, terminal.clock, kTokens);
  ASSIGN_OR_RETURN(text::TrainedVocabulary trained, trainer.Train());
  merging.reset();
  const size_t size = trained.tokens.size();
  if (size < flags.vocab_size) {
    spdlog::warn("the text gives {} tokens only: no further pair occurs {} times vocab_size={}", size,
                 flags.min_frequency, flags.vocab_size);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                   text::MakeTokenizer(std::move(trained), kind, {.lowercase = !flags.cased}));
  RETURN_IF_ERROR(CheckTokenizerOutput(flags, *tokenizer));
  RETURN_IF_ERROR(text::WriteTokenizerFiles(*tokenizer, flags.output));
  terminal.out << absl::StrFormat("%s: %d tokens from %d words (%d distinct) in %.1f MB, %.1f s\n", flags.output, size,
                                  trainer.words(), trainer.distinct_words(), static_cast<double>(bytes_done) / 1e6,
                                  SecondsSince(start, terminal.clock));
  return Flushed(terminal.out);
}

absl::Status Build(const BuildFlags& flags, const Terminal& terminal, std::function<bool()> cancelled) {
  const absl::Duration start = terminal.clock.Monotonic();
  LeftOutLog left_out;
  auto progress = std::make_unique<ProgressLine>("tokenizing", terminal.err, terminal.err_is_terminal, terminal.clock);
  corpus::BuildOptions options{
      .inputs = flags.inputs,
      .tokenizer_directory = flags.tokenizer,
      .output = flags.output,
      .validation_share = flags.validation_share,
      .shard_tokens_max = flags.shard_tokens_max,
      .strict = flags.strict,
      .force = flags.force,
      .threads = flags.threads,
      .journal_bytes = flags.journal_bytes,
      .cancelled = std::move(cancelled),
      .progress = [&](const corpus::BuildProgress& now) { progress->Update(now.bytes_read, now.bytes_total); },
      .report = [&](const std::string& line) { left_out.Add(line); }};
  const absl::StatusOr<corpus::BuildReport> report = corpus::BuildDataset(options);
  progress.reset();
  RETURN_IF_ERROR(report.status());
  const corpus::Manifest& manifest = report->manifest;
  if (manifest.validation.documents == 0) {
    spdlog::warn("no document fell into the validation split: there is no validation loss and no baseline documents={}",
                 manifest.train.documents);
  }
  const double seconds = SecondsSince(start, terminal.clock);
  int64_t bytes = -report->resumed_bytes;
  for (const corpus::CorpusEntry& corpus : manifest.corpora) bytes += corpus.bytes;
  const double megabytes = static_cast<double>(bytes) / 1e6;
  terminal.out << SummaryText(flags.output, manifest)
               << absl::StrFormat("\n%.1f MB read in %.1f s, %.1f MB/s\n", megabytes, seconds, megabytes / seconds);
  return Flushed(terminal.out);
}

absl::Status Inspect(const InspectFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const auto dataset, corpus::Dataset::Open(flags.directory, {.check_contents = false}));
  std::vector<DocumentSample> samples;
  if (flags.show > 0) {
    ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                     text::LoadTokenizer(absl::StrCat(flags.directory, "/", corpus::kTokenizerFolder)));
    ASSIGN_OR_RETURN(samples, SampleDocuments(*dataset, *tokenizer, flags.show));
  }
  if (flags.json) {
    terminal.out << SummaryJson(flags.directory, dataset->manifest(), samples);
    return Flushed(terminal.out);
  }
  terminal.out << SummaryText(flags.directory, dataset->manifest());
  for (const DocumentSample& sample : samples) {
    terminal.out << absl::StrFormat("\n%s document %d, %d tokens\n  %s\n", sample.split, sample.document, sample.tokens,
                                    sample.text);
  }
  return Flushed(terminal.out);
}

absl::Status Verify(const std::string& directory, const Terminal& terminal) {
  RETURN_IF_ERROR(corpus::Verify(directory));
  ASSIGN_OR_RETURN(const corpus::Manifest manifest, corpus::ReadManifest(directory));
  terminal.out << absl::StrFormat(
      "%s: good: %s, %d documents, %d tokens, %d files\n", directory, manifest.digest,
      manifest.train.documents + manifest.validation.documents, manifest.train.tokens + manifest.validation.tokens,
      manifest.train.shards.size() + manifest.validation.shards.size() + manifest.tokenizer.files.size() + 1);
  return Flushed(terminal.out);
}

absl::Status Tokenize(const TokenizeFlags& flags, const Terminal& terminal) {
  using Json = nlohmann::ordered_json;
  ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer, text::LoadTokenizer(flags.tokenizer));
  const auto special = flags.split_special_tokens ? text::SpecialTokenText::kIsText : text::SpecialTokenText::kIsToken;
  std::vector<uint32_t> ids;
  std::string line;
  for (int64_t number = 1; std::getline(terminal.in, line); ++number) {
    ids.clear();
    if (!flags.json) {
      tokenizer->Encode(line, &ids, special);
      terminal.out << absl::StrJoin(ids, " ") << '\n';
      continue;
    }
    const Json value = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!value.is_string()) return absl::InvalidArgumentError(absl::StrCat("line ", number, ": not a JSON string"));
    tokenizer->Encode(value.get_ref<const std::string&>(), &ids, special);
    Json tokens = Json::array();
    for (const uint32_t id : ids) tokens.push_back(tokenizer->Token(id));
    const Json result{
        {"ids", ids}, {"tokens", std::move(tokens)}, {"text", tokenizer->Decode(ids, /*skip_special_tokens=*/false)}};
    terminal.out << result.dump() << '\n';
  }
  if (terminal.in.bad()) return absl::InternalError("cannot read the input");
  return Flushed(terminal.out);
}

}  // namespace bert::data
