#include "dataloader/dataset_summary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bert::data {
namespace {

using corpus::Manifest;
using corpus::SplitEntry;
using corpus::SplitKind;
using Json = nlohmann::ordered_json;

constexpr int64_t kSampleTokensMax = 64;

int64_t Bytes(const SplitEntry& split) {
  int64_t bytes = 0;
  for (const corpus::ShardInfo& shard : split.shards) bytes += shard.bytes;
  return bytes;
}

std::string Row(const std::string& name, const SplitEntry& split) {
  return absl::StrFormat("%-12s%12d%14d%14d%9d%11.1f\n", name, split.documents, split.words, split.tokens,
                         split.shards.size(), static_cast<double>(Bytes(split)) / 1e6);
}

// Left alone where a dataset says nothing of corpora: it is older than they are.
std::string CorpusTable(const std::vector<corpus::CorpusEntry>& corpora) {
  if (corpora.empty()) return "";
  size_t width = 10;
  for (const corpus::CorpusEntry& corpus : corpora) width = std::max(width, corpus.name.size());
  const auto row = [width](const corpus::CorpusEntry& corpus) {
    const double words = static_cast<double>(std::max<int64_t>(1, corpus.words));
    const double tokens = static_cast<double>(std::max<int64_t>(1, corpus.tokens));
    return absl::StrFormat("%-*s%7d%12d%14d%14d%13.3f%8.3f%%\n", width + 2, corpus.name, corpus.files, corpus.documents,
                           corpus.words, corpus.tokens, static_cast<double>(corpus.tokens) / words,
                           100 * static_cast<double>(corpus.unknown_tokens) / tokens);
  };
  std::string out = absl::StrFormat("\n%-*s%7s%12s%14s%14s%13s%9s\n", width + 2, "corpus", "files", "documents",
                                    "words", "tokens", "tokens/word", "[UNK]");
  corpus::CorpusEntry sum{.name = "total"};
  for (const corpus::CorpusEntry& corpus : corpora) {
    absl::StrAppend(&out, row(corpus));
    sum.files += corpus.files;
    sum.documents += corpus.documents;
    sum.words += corpus.words;
    sum.tokens += corpus.tokens;
    sum.unknown_tokens += corpus.unknown_tokens;
    sum.duplicate_documents += corpus.duplicate_documents;
    sum.invalid_documents += corpus.invalid_documents;
    sum.empty_documents += corpus.empty_documents;
    sum.damaged_files += corpus.damaged_files;
  }
  if (corpora.size() > 1) absl::StrAppend(&out, row(sum));
  absl::StrAppendFormat(&out,
                        "left out: %d duplicate, %d unreadable, %d empty documents; the rest of %d damaged files\n",
                        sum.duplicate_documents, sum.invalid_documents, sum.empty_documents, sum.damaged_files);
  return out;
}

Json CorporaJson(const std::vector<corpus::CorpusEntry>& corpora) {
  Json array = Json::array();
  for (const corpus::CorpusEntry& corpus : corpora) {
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

Json SplitJson(const SplitEntry& split) {
  return Json{{"documents", split.documents},
              {"words", split.words},
              {"tokens", split.tokens},
              {"shards", split.shards.size()},
              {"bytes", Bytes(split)}};
}

}  // namespace

absl::StatusOr<std::vector<DocumentSample>> SampleDocuments(const corpus::Dataset& dataset,
                                                            const text::Tokenizer& tokenizer, int64_t count) {
  std::vector<DocumentSample> samples;
  for (const SplitKind kind : {SplitKind::kTrain, SplitKind::kValidation}) {
    const corpus::SplitView& split = dataset.split(kind);
    for (int64_t document = 0; document < std::min(count, split.documents()); ++document) {
      const int64_t begin = split.DocumentBegin(document);
      const int64_t tokens = split.DocumentBegin(document + 1) - begin;
      std::vector<int32_t> stored(static_cast<size_t>(std::min(tokens, kSampleTokensMax)));
      split.CopyTokens(begin, static_cast<int64_t>(stored.size()), stored.data());
      const std::vector<uint32_t> ids(stored.begin(), stored.end());
      for (const uint32_t id : ids) {
        if (id < tokenizer.size()) continue;
        return absl::DataLossError(absl::StrCat(dataset.directory(), ": ", std::string(SplitName(kind)), " document ",
                                                document, " has token id ", id, " of a vocabulary of ",
                                                tokenizer.size()));
      }
      samples.push_back(
          {.split = std::string(SplitName(kind)),
           .document = document,
           .tokens = tokens,
           .text = tokenizer.Decode(ids, /*skip_special_tokens=*/false) + (tokens > kSampleTokensMax ? " ..." : "")});
    }
  }
  return samples;
}

std::string SummaryText(const std::string& directory, const Manifest& manifest) {
  std::string out = absl::StrCat("dataset    ", directory, "\ndigest     ", manifest.digest, "\n");
  absl::StrAppendFormat(&out, "tokenizer  %s, %s, %d tokens of %d bytes\n", manifest.tokenizer.type,
                        manifest.tokenizer.lowercase ? "uncased" : "cased", manifest.tokenizer.vocab_size,
                        manifest.token_bytes);
  if (manifest.validation.tokens == 0) {
    absl::StrAppend(&out, "baseline   none: there is no validation document\n\n");
  } else {
    absl::StrAppendFormat(&out, "baseline   %.4f nats, perplexity %.1f: validation loss of token frequencies alone\n\n",
                          manifest.unigram_cross_entropy, std::exp(manifest.unigram_cross_entropy));
  }
  absl::StrAppendFormat(&out, "%-12s%12s%14s%14s%9s%11s\n", "split", "documents", "words", "tokens", "shards", "MB");
  absl::StrAppend(&out, Row("train", manifest.train), Row("validation", manifest.validation),
                  CorpusTable(manifest.corpora));
  return out;
}

std::string SummaryJson(const std::string& directory, const Manifest& manifest,
                        const std::vector<DocumentSample>& samples) {
  Json sources = Json::array();
  for (const corpus::FileEntry& file : manifest.sources) {
    sources.push_back({{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest}});
  }
  Json json{{"directory", directory},
            {"digest", manifest.digest},
            {"tokenizer",
             {{"type", manifest.tokenizer.type},
              {"vocab_size", manifest.tokenizer.vocab_size},
              {"lowercase", manifest.tokenizer.lowercase}}},
            {"token_bytes", manifest.token_bytes},
            {"splits", {{"train", SplitJson(manifest.train)}, {"validation", SplitJson(manifest.validation)}}},
            {"unigram_cross_entropy", manifest.unigram_cross_entropy},
            {"corpora", CorporaJson(manifest.corpora)},
            {"sources", std::move(sources)}};
  if (!samples.empty()) {
    Json documents = Json::array();
    for (const DocumentSample& sample : samples) {
      documents.push_back(
          {{"split", sample.split}, {"document", sample.document}, {"tokens", sample.tokens}, {"text", sample.text}});
    }
    json["documents"] = std::move(documents);
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace bert::data
