#include "dataloader/corpus/synthetic_dataset.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::corpus {
namespace {

constexpr int32_t kSpecialTokens = 5;

int32_t FirstContinuation(int32_t vocab_size) { return vocab_size - vocab_size / 4; }

std::vector<uint32_t> MakeDocument(const SyntheticOptions& options, int64_t length, std::mt19937_64& generator) {
  const int32_t first_continuation = FirstContinuation(options.vocab_size);
  std::vector<uint32_t> ids(static_cast<size_t>(length));
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool continues = i > 0 && static_cast<int>(generator() % 100) < options.continuation_percent;
    const int32_t low = continues ? first_continuation : kSpecialTokens;
    const int32_t high = continues ? options.vocab_size : first_continuation;
    ids[i] = static_cast<uint32_t>(low) + static_cast<uint32_t>(generator() % static_cast<uint64_t>(high - low));
  }
  return ids;
}

absl::StatusOr<SplitEntry> WriteSplit(const std::string& directory, absl::string_view name,
                                      const std::vector<std::vector<int64_t>>& shards, const SyntheticOptions& options,
                                      std::mt19937_64& generator) {
  SplitEntry split;
  for (size_t s = 0; s < shards.size(); ++s) {
    const std::string file = absl::StrFormat("%s/%s-%05d.bin", kShardFolder, name, s);
    ASSIGN_OR_RETURN(auto writer, ShardWriter::Create(absl::StrCat(directory, "/", file), options.token_bytes));
    for (const int64_t length : shards[s]) RETURN_IF_ERROR(writer->Append(MakeDocument(options, length, generator)));
    ASSIGN_OR_RETURN(ShardInfo info, writer->Finish());
    info.file = file;
    split.documents += info.documents;
    split.tokens += info.tokens;
    split.shards.push_back(std::move(info));
  }
  split.words = split.tokens * (100 - options.continuation_percent) / 100;
  return split;
}

}  // namespace

std::string SyntheticVocabulary(int32_t vocab_size) {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int32_t id = kSpecialTokens; id < vocab_size; ++id) {
    absl::StrAppend(&text, id < FirstContinuation(vocab_size) ? "w" : "##c", id, "\n");
  }
  return text;
}

absl::StatusOr<Manifest> WriteSyntheticDataset(const std::string& directory, const SyntheticOptions& options) {
  std::mt19937_64 generator(options.seed);
  const std::string tokenizer_directory = absl::StrCat(directory, "/", kTokenizerFolder);
  RETURN_IF_ERROR(MakeDirectories(tokenizer_directory));
  RETURN_IF_ERROR(MakeDirectories(absl::StrCat(directory, "/", kShardFolder)));
  Manifest manifest;
  manifest.tokenizer.vocab_size = options.vocab_size;
  manifest.token_bytes = options.token_bytes;
  for (const auto& [name, content] :
       {std::pair<std::string, std::string>{"vocab.txt", SyntheticVocabulary(options.vocab_size)},
        {"tokenizer_config.json", "{\"do_lower_case\": true}\n"}}) {
    RETURN_IF_ERROR(WriteFile(absl::StrCat(tokenizer_directory, "/", name), content));
    manifest.tokenizer.files.push_back(
        {.name = name, .bytes = static_cast<int64_t>(content.size()), .digest = Digest(content)});
  }
  ASSIGN_OR_RETURN(manifest.train, WriteSplit(directory, "train", options.train, options, generator));
  ASSIGN_OR_RETURN(manifest.validation, WriteSplit(directory, "validation", options.validation, options, generator));
  manifest.unigram_cross_entropy = 6.25;
  RETURN_IF_ERROR(WriteManifest(directory, &manifest));
  return manifest;
}

std::vector<int64_t> SyntheticLengths(uint64_t seed, int64_t documents, int64_t mean) {
  std::mt19937_64 generator(seed);
  std::vector<int64_t> lengths(static_cast<size_t>(documents));
  // The mean of a product of two uniform numbers in [0, 2) is 1: few long documents, many short ones.
  for (int64_t& length : lengths) {
    const double factor =
        static_cast<double>(generator() % 1000) / 500 * (static_cast<double>(generator() % 1000) / 500);
    length = std::clamp<int64_t>(static_cast<int64_t>(factor * static_cast<double>(mean)), 1, 3 * mean);
  }
  return lengths;
}

}  // namespace bert::corpus
