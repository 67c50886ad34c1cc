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
  absl::StrAppend(&out, Row("train", manifest.train), Row("validation", manifest.validation));
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
