// One training step (forward, backward, gradient norm, AdamW; no data loading, no collective) on synthetic full rows,
// 15% of the tokens masked: the counterpart of a step of transformers' BertForMaskedLM.
//
//   train_step --size base --precision bf16 --rows 8 --seq 128
//
// Prints one JSON line; the fastest of the steps after the first is taken. `cpu_s` is the processor time of all
// threads, which other programs on the machine disturb less than `step_s`.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <random>
#include <string>

#include "common/status_macros.h"
#include "worker/model/cpu/memory.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/adamw.h"

namespace bert::model {
namespace {

struct Options {
  std::string size = "base";
  std::string precision = "bf16";
  int64_t rows = 8;
  int64_t seq = 128;
  int64_t segments = 1;
  double dropout = 0.1;
  int steps = 5;
  int threads = 2;
  bool pre_ln = false;
};

ModelConfig ConfigOf(const Options& options) {
  ModelConfig config;
  if (options.size == "mini") {
    config.hidden_size = 256;
    config.num_hidden_layers = 4;
    config.num_attention_heads = 4;
    config.intermediate_size = 1024;
  } else if (options.size == "large") {
    config.hidden_size = 1024;
    config.num_hidden_layers = 24;
    config.num_attention_heads = 16;
    config.intermediate_size = 4096;
  }
  if (options.pre_ln) config.norm = NormPlacement::kPreLn;
  config.hidden_dropout = options.dropout;
  config.attention_dropout = options.dropout;
  return config;
}

// Full rows of random ids, cut into segments of equal length.
MaskedBatch MakeBatch(const Options& options, const ModelConfig& config) {
  std::mt19937_64 random(1);
  MaskedBatch batch;
  const at::TensorOptions longs(at::kLong);
  batch.input_ids = at::empty({options.rows, options.seq}, longs);
  batch.position_ids = at::empty({options.rows, options.seq}, longs);
  batch.segments = at::empty({options.rows, options.seq}, at::kInt);
  const int64_t tokens = options.rows * options.seq;
  const int64_t length = (options.seq + options.segments - 1) / options.segments;
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t column = i % options.seq;
    batch.input_ids.data_ptr<int64_t>()[i] = static_cast<int64_t>(random() % static_cast<uint64_t>(config.vocab_size));
    batch.position_ids.data_ptr<int64_t>()[i] = column % length;
    batch.segments.data_ptr<int32_t>()[i] = static_cast<int32_t>(column / length);
  }
  const int64_t masked = tokens * 15 / 100;
  batch.masked_positions = at::empty({masked}, longs);
  for (int64_t i = 0; i < masked; ++i) batch.masked_positions.data_ptr<int64_t>()[i] = i * tokens / masked;
  batch.labels = batch.input_ids.flatten().index_select(0, batch.masked_positions);
  return batch;
}

// Of a forward and backward pass, in floating-point operations per step: 6 per weight and token of the matrices, and
// the attention's two products.
double FlopsPerStep(const ModelConfig& config, const Options& options, int64_t masked) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double tokens = static_cast<double>(options.rows * options.seq);
  const double layer = hidden * hidden * 4 + hidden * static_cast<double>(config.intermediate_size) * 2;
  const double attention = 2 * hidden * static_cast<double>(options.seq);
  const double head = hidden * hidden + hidden * static_cast<double>(config.vocab_size);
  return 6 * (static_cast<double>(config.num_hidden_layers) * (layer + attention) * tokens +
              head * static_cast<double>(masked));
}

absl::Status Run(const Options& options) {
  const ModelConfig config = ConfigOf(options);
  const Precision precision = options.precision == "bf16" ? Precision::kBf16 : Precision::kFp32;
  ASSIGN_OR_RETURN(const std::unique_ptr<MaskedLm> model, MaskedLm::Create(config, precision, at::kCPU));
  model->InitializeWeights(1);
  const MaskedBatch batch = MakeBatch(options, config);
  trainer::AdamW optimizer(&model->parameters(), trainer::AdamWOptions());
  double best = 1e30;
  double best_cpu = 1e30;
  double loss = 0;
  for (int step = 0; step < options.steps; ++step) {
    const std::clock_t cpu_start = std::clock();
    const auto start = std::chrono::steady_clock::now();
    const LossSums sums =
        model->ForwardBackward(batch, static_cast<uint64_t>(step), {.weights = GradMode::kReplace});
    loss = sums.nll.item<double>() / static_cast<double>(sums.masked_tokens);
    const double masked = static_cast<double>(sums.masked_tokens);
    const double norm = trainer::GradientNorm(model->parameters().grad()) / masked;
    optimizer.Step({.step = step + 1, .learning_rate = 1e-4, .gradient_scale = 1 / masked / std::max(1.0, norm)});
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (step == 0) continue;
    best = std::min(best, elapsed.count());
    best_cpu = std::min(best_cpu, static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC);
  }
  const double tokens = static_cast<double>(options.rows * options.seq);
  std::printf(
      "{\"size\": \"%s\", \"precision\": \"%s\", \"rows\": %lld, \"seq\": %lld, \"step_s\": %.4f, \"cpu_s\": %.4f, "
      "\"tokens_per_s\": %.1f, \"gflops\": %.1f, \"loss\": %.4f}\n",
      options.size.c_str(), options.precision.c_str(), static_cast<long long>(options.rows),
      static_cast<long long>(options.seq), best, best_cpu, tokens / best,
      FlopsPerStep(config, options, batch.labels.numel()) / best / 1e9, loss);
  return absl::OkStatus();
}

}  // namespace
}  // namespace bert::model

int main(int argc, char** argv) {
  bert::model::Options options;
  CLI::App app("Measures one training step of the model on synthetic rows.");
  app.add_option("--size", options.size)->check(CLI::IsMember({"mini", "base", "large"}))->capture_default_str();
  app.add_option("--precision", options.precision)->check(CLI::IsMember({"bf16", "fp32"}))->capture_default_str();
  app.add_option("--rows", options.rows, "Rows of a batch")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--seq", options.seq, "Tokens of a row")->check(CLI::Range(8, 512))->capture_default_str();
  app.add_option("--segments", options.segments, "Segments of a row")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--dropout", options.dropout)->check(CLI::Range(0.0, 0.9))->capture_default_str();
  app.add_option("--steps", options.steps)->check(CLI::Range(2, 10000))->capture_default_str();
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_flag("--pre-ln", options.pre_ln);
  CLI11_PARSE(app, argc, argv);
  bert::model::cpu::FlushDenormals();
  bert::model::cpu::KeepFreedMemory();
  at::set_num_threads(options.threads);
  try {
    const absl::Status status = bert::model::Run(options);
    if (status.ok()) return 0;
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
