// Row indexes of a dataset of 4 billion words: how long they take to make, how large they are, how long a loader takes
// to open one, and how long a stream that resumes in epoch 3 waits for its first rows.
//
//   bench_row_index --seq 128
//
// The dataset's size is real to everything that reads it, not to the disk: its 100 shards are names of one file.
// Prints one JSON line.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/corpus/manifest.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/sampling/batch_sampler.h"

namespace bert::sampling {
namespace {

constexpr int kShards = 100;
// 40 million words of 4/3 tokens each.
constexpr int64_t kDocumentsPerShard = 106'667;
constexpr int64_t kTokensPerDocument = 500;
constexpr int kSeeks = 1000;

// A dataset whose train split is one shard many times.
absl::Status WriteDataset(const std::string& directory) {
  corpus::SyntheticOptions options;
  options.vocab_size = 30'522;
  options.train = {corpus::SyntheticLengths(1, kDocumentsPerShard, kTokensPerDocument)};
  ASSIGN_OR_RETURN(corpus::Manifest manifest, corpus::WriteSyntheticDataset(directory, options));
  const corpus::ShardInfo shard = manifest.train.shards.front();
  for (int i = 1; i < kShards; ++i) {
    corpus::ShardInfo link = shard;
    link.file = absl::StrFormat("%s/train-%05d.bin", corpus::kShardFolder, i);
    std::filesystem::create_hard_link(absl::StrCat(directory, "/", shard.file),
                                      absl::StrCat(directory, "/", link.file));
    manifest.train.shards.push_back(std::move(link));
  }
  manifest.train.documents *= kShards;
  manifest.train.tokens *= kShards;
  manifest.train.words *= kShards;
  return corpus::WriteManifest(directory, &manifest);
}

double SecondsSince(absl::Time start) { return absl::ToDoubleSeconds(absl::Now() - start); }

absl::Status Measure(const std::string& directory, int32_t seq) {
  RETURN_IF_ERROR(WriteDataset(directory));
  ASSIGN_OR_RETURN(const auto dataset, corpus::Dataset::Open(directory, {.check_contents = false}));
  constexpr auto kTrain = corpus::SplitKind::kTrain;
  const std::string path = absl::StrCat(directory, ".rows");
  absl::Time start = absl::Now();
  double build_seconds = 0;
  {
    ASSIGN_OR_RETURN(const auto built, RowIndex::Build(dataset, kTrain, seq));
    build_seconds = SecondsSince(start);
    RETURN_IF_ERROR(WriteFileDurably(path, built->image()));
  }
  start = absl::Now();
  ASSIGN_OR_RETURN(const auto rows, RowIndex::Load(dataset, kTrain, seq, RowFormat::kPacked, path));
  const double load_seconds = SecondsSince(start);

  // What a stream does when it opens: a sampler of its own, its first row, then its first batch.
  constexpr int32_t kGlobalRows = 256;
  const int64_t first_step = 3 * rows->rows() / kGlobalRows;
  std::mt19937_64 random(1);
  std::vector<double> seeks;
  std::vector<double> batches;
  RowBatch batch;
  for (int i = 0; i < kSeeks; ++i) {
    const auto step = first_step + static_cast<int64_t>(random() % static_cast<uint64_t>(rows->rows() / kGlobalRows));
    start = absl::Now();
    ASSIGN_OR_RETURN(const auto sampler,
                     BatchSampler::Create(rows, {.split = kTrain, .seed = 1, .global_batch_size = kGlobalRows}, {}));
    RETURN_IF_ERROR(sampler->CheckRange(step, 0, kGlobalRows));
    RETURN_IF_ERROR(sampler->FillRows(step, 0, 1, &batch));
    seeks.push_back(1e3 * SecondsSince(start));
    RETURN_IF_ERROR(sampler->FillRows(step, 0, kGlobalRows, &batch));
    batches.push_back(1e3 * SecondsSince(start));
  }
  std::sort(seeks.begin(), seeks.end());
  std::sort(batches.begin(), batches.end());
  std::printf(
      "{\"words\": %lld, \"tokens\": %lld, \"documents\": %lld, \"seq\": %d, \"rows\": %lld, \"index_mb\": %.1f, "
      "\"build_s\": %.2f, \"load_s\": %.2f, \"first_row_ms_median\": %.3f, \"first_row_ms_max\": %.3f, "
      "\"first_batch_ms_median\": %.3f, \"first_batch_ms_max\": %.3f}\n",
      static_cast<long long>(dataset->manifest().train.words), static_cast<long long>(dataset->manifest().train.tokens),
      static_cast<long long>(dataset->manifest().train.documents), seq, static_cast<long long>(rows->rows()),
      static_cast<double>(rows->image().size()) / 1e6, build_seconds, load_seconds, seeks[seeks.size() / 2],
      seeks.back(), batches[batches.size() / 2], batches.back());
  return RemoveTree(path);
}

}  // namespace
}  // namespace bert::sampling

int main(int argc, char** argv) {
  int32_t seq = 128;
  CLI::App app("Measures row indexes of 4 billion words.");
  app.add_option("--seq", seq, "Tokens of a row")->check(CLI::Range(8, 65535))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const std::string directory =
      std::filesystem::temp_directory_path() / absl::StrCat("bench_row_index-", static_cast<int64_t>(getpid()));
  absl::Status status = bert::sampling::Measure(directory, seq);
  status.Update(bert::RemoveTree(directory));
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_row_index: %s\n", status.ToString().c_str());
  return 1;
}
