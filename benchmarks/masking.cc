// How fast one core makes masked batches out of mapped shards: packing, order, whole-word masks, wire bytes.
//
//   bench_masking --benchmark_filter=FillRows
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "common/check.h"
#include "common/files.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/sampling/batch_sampler.h"

namespace bert::sampling {
namespace {

constexpr int32_t kRowsPerBatch = 256;

// Eight million tokens: more than any cache holds.
std::shared_ptr<const corpus::Dataset> MakeDataset() {
  const std::string directory = std::filesystem::temp_directory_path() / ("bench_masking-" + std::to_string(getpid()));
  corpus::SyntheticOptions options;
  options.vocab_size = 30'522;
  options.train = {corpus::SyntheticLengths(1, 16'000, 500)};
  const auto manifest = corpus::WriteSyntheticDataset(directory, options);
  BERT_CHECK(manifest.ok()) << manifest.status();
  auto dataset = corpus::Dataset::Open(directory);
  BERT_CHECK(dataset.ok()) << dataset.status();
  // The mapping keeps the content.
  BERT_CHECK(RemoveTree(directory).ok());
  return *dataset;
}

std::unique_ptr<BatchSampler> MakeSampler(int32_t max_seq_len, const Masking& masking) {
  static const auto dataset = MakeDataset();
  auto rows = RowIndex::Build(dataset, corpus::SplitKind::kTrain, max_seq_len);
  BERT_CHECK(rows.ok()) << rows.status();
  auto sampler = BatchSampler::Create(
      *rows, {.split = corpus::SplitKind::kTrain, .seed = 1, .global_batch_size = kRowsPerBatch}, masking);
  BERT_CHECK(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

// Arguments: max_seq_len, whole words or not, wire bytes too or not.
void FillRows(benchmark::State& state) {
  auto sampler = MakeSampler(static_cast<int32_t>(state.range(0)), {.whole_word = state.range(1) != 0});
  RowBatch batch;
  int64_t step = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
  for (auto _ : state) {
    BERT_CHECK(sampler->FillRows(step++, 0, kRowsPerBatch, &batch).ok());
    tokens += static_cast<int64_t>(batch.token_ids.size());
    if (state.range(2) != 0) {
      const EncodedRows encoded = Encode(batch, 30'522);
      benchmark::DoNotOptimize(encoded.token_ids.data());
      bytes += static_cast<int64_t>(encoded.token_ids.size() + encoded.segment_counts.size() +
                                    encoded.segment_lengths.size() + encoded.masked_counts.size() +
                                    encoded.masked_positions.size() + encoded.labels.size());
    }
  }
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsRate);
  if (bytes > 0) state.counters["bytes/token"] = static_cast<double>(bytes) / static_cast<double>(tokens);
}
BENCHMARK(FillRows)
    ->ArgNames({"seq_len", "whole_word", "encode"})
    ->Args({128, 1, 0})
    ->Args({128, 1, 1})
    ->Args({512, 1, 0})
    ->Args({128, 0, 0});

void DecodeRows(benchmark::State& state) {
  auto sampler = MakeSampler(128, {});
  RowBatch batch;
  BERT_CHECK(sampler->FillRows(0, 0, kRowsPerBatch, &batch).ok());
  const EncodedRows encoded = Encode(batch, 30'522);
  int64_t tokens = 0;
  for (auto _ : state) {
    const auto decoded = Decode(ViewOf(encoded), {.vocab_size = 30'522, .max_seq_len = 128});
    BERT_CHECK(decoded.ok()) << decoded.status();
    tokens += static_cast<int64_t>(decoded->token_ids.size());
  }
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsRate);
}
BENCHMARK(DecodeRows);

}  // namespace
}  // namespace bert::sampling
