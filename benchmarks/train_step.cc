// Training steps as a rank takes them (rows to tensors, forward, backward, all-reduce, gradient norm, AdamW; no data
// loading) on synthetic rows, 15% of the tokens masked: the counterpart of a step of transformers' BertForMaskedLM,
// which benchmarks/train_step.py measures beside it.
//
//   train_step --size base --precision bf16 --rows 8 --seq 128 --fill 0.75
//
// Prints one JSON line; the fastest of the steps after the first is taken. `tokens_per_s` counts real tokens, without
// padding; `gflops` the products alone; `gemm_gflops` is what Torch's product of the same dtype reaches on this machine
// in the same process, for the shape of the feed-forward layer's first product. `cpu_s` is the processor time of all
// threads of one rank, which other programs disturb less than `step_s`. With --ranks as many processes share each batch
// over Gloo on loopback.
#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/status_macros.h"
#include "worker/collective/collective.h"
#include "worker/collective/store.h"
#include "worker/model/cpu/memory.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/adamw.h"
#include "worker/trainer/gradient.h"

namespace bert::model {
namespace {

struct Options {
  std::string size = "base";
  std::string precision = "bf16";
  int32_t rows = 8;
  int32_t micro_batch = 0;
  int32_t seq = 128;
  int32_t segments = 1;
  double fill = 1;
  double dropout = 0.1;
  int steps = 5;
  int threads = 2;
  int ranks = 1;
  bool no_overlap = false;
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

// Lengths are even between 2 * fill - 1 and 1 times the width; segments of a row are equally long but for the last.
sampling::RowBatch MakeRows(const Options& options, const ModelConfig& config, const trainer::Part& part) {
  sampling::RowBatch batch;
  batch.row_begin = static_cast<int32_t>(part.begin);
  for (int64_t row = 0; row < part.end; ++row) {
    std::mt19937_64 random(static_cast<uint64_t>(row) + 1);
    const double share = std::uniform_real_distribution<double>(2 * options.fill - 1, 1)(random);
    const int length = std::clamp(static_cast<int>(options.seq * share + 0.5), 8, options.seq);
    if (row < part.begin) continue;
    const int segment = (length + options.segments - 1) / options.segments;
    int segments = 0;
    for (int begin = 0; begin < length; begin += segment, ++segments) {
      batch.segment_lengths.push_back(static_cast<uint16_t>(std::min(segment, length - begin)));
    }
    batch.segment_counts.push_back(static_cast<uint16_t>(segments));
    const int masked = std::max(1, length * 15 / 100);
    for (int i = 0; i < length; ++i) {
      batch.token_ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(config.vocab_size)));
    }
    for (int i = 0; i < masked; ++i) {
      batch.masked_positions.push_back(static_cast<uint16_t>(i * length / masked));
      batch.labels.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(config.vocab_size)));
    }
    batch.masked_counts.push_back(static_cast<uint16_t>(masked));
    ++batch.row_count;
  }
  return batch;
}

// Of the products of a forward and backward pass: 6 operations a token for each weight of the matrices that it meets,
// and the attention's two products.
double FlopsPerStep(const ModelConfig& config, const sampling::RowBatch& rows) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double layer = hidden * hidden * 4 + hidden * static_cast<double>(config.intermediate_size) * 2;
  double attention = 0;
  for (const uint16_t length : rows.segment_lengths) attention += 2 * hidden * length * length;
  const double head = hidden * hidden + hidden * static_cast<double>(config.vocab_size);
  return 6 * (static_cast<double>(config.num_hidden_layers) *
                  (layer * static_cast<double>(rows.token_ids.size()) + attention) +
              head * static_cast<double>(rows.labels.size()));
}

// Operations per second of the best of ten products.
double ProductRate(int64_t tokens, const ModelConfig& config, at::ScalarType dtype) {
  const at::Tensor x = at::zeros({tokens, config.hidden_size}, dtype).fill_(0.5);
  const at::Tensor weight = at::zeros({config.intermediate_size, config.hidden_size}, dtype).fill_(0.25);
  double best = 1e30;
  for (int i = 0; i < 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::mm(x, weight.t());
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * static_cast<double>(tokens * config.hidden_size * config.intermediate_size) / best;
}

absl::Status RunRank(const Options& options, int rank, const std::string& store) {
  cpu::FlushDenormals();
  cpu::KeepFreedMemory();
  at::set_num_threads(options.threads);
  const ModelConfig config = ConfigOf(options);
  const Precision precision = options.precision == "bf16" ? Precision::kBf16 : Precision::kFp32;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<collective::Collective> group,
      collective::Connect(
          {.rank = rank, .world_size = options.ranks, .store_address = store, .timeout = absl::Minutes(1)}));
  ASSIGN_OR_RETURN(const std::unique_ptr<MaskedLm> model, MaskedLm::Create(config, precision, at::kCPU));
  model->InitializeWeights(1);
  trainer::AdamW optimizer(&model->parameters(), trainer::AdamWOptions());
  trainer::StepTime time(&RealClock());
  trainer::GradientOptions gradient_options = {
      .global_batch_size = options.rows,
      .micro_batch_size = options.micro_batch > 0 ? options.micro_batch : options.rows,
      .max_seq_len = options.seq,
      .seed = 1};
  gradient_options.buckets.overlap = !options.no_overlap;
  const auto gradient = trainer::MakeFlatGradient(model.get(), group.get(), &time, gradient_options);
  const sampling::RowBatch rows = MakeRows(options, config, gradient->rows());
  double best = 1e30;
  double best_cpu = 1e30;
  trainer::StepTotals totals;
  for (int step = 0; step < options.steps; ++step) {
    const std::clock_t cpu_start = std::clock();
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(totals, gradient->Compute(step, rows, false));
    const double masked = static_cast<double>(totals.masked_tokens);
    const double norm = trainer::GradientNorm(model->parameters().grad()) / masked;
    optimizer.Step({.step = step + 1, .learning_rate = 1e-4, .gradient_scale = 1 / masked / std::max(1.0, norm)});
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (step == 0) continue;
    best = std::min(best, elapsed.count());
    best_cpu = std::min(best_cpu, static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC);
  }
  if (rank != 0) return absl::OkStatus();
  const double flops = FlopsPerStep(config, MakeRows(options, config, {0, options.rows}));
  const double product = options.ranks > 1 ? 0
                                           : ProductRate(options.rows * options.seq, config,
                                                         precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat);
  std::printf(
      "{\"size\": \"%s\", \"precision\": \"%s\", \"ranks\": %d, \"threads\": %d, \"overlap\": %s, \"rows\": %d, "
      "\"seq\": %d, \"fill\": %g, \"real_tokens\": %lld, \"step_s\": %.4f, \"cpu_s\": %.4f, \"tokens_per_s\": %.1f, "
      "\"gflops\": %.1f, \"gemm_gflops\": %.1f, \"loss\": %.4f}\n",
      options.size.c_str(), options.precision.c_str(), options.ranks, options.threads,
      options.no_overlap ? "false" : "true", options.rows, options.seq, options.fill,
      static_cast<long long>(totals.tokens), best, best_cpu, static_cast<double>(totals.tokens) / best,
      flops / best / 1e9, product / 1e9, totals.nll / static_cast<double>(totals.masked_tokens));
  return absl::OkStatus();
}

int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

// Every rank but the first in a process of its own, which is told where the store is through a pipe. They are started
// before this process has threads.
int RunRanks(const Options& options) {
  std::vector<int> pipes;
  for (int rank = 1; rank < options.ranks; ++rank) {
    int ends[2];
    if (pipe(ends) != 0) return Report(absl::InternalError("cannot make a pipe"));
    const pid_t child = fork();
    if (child < 0) return Report(absl::InternalError("cannot start a rank"));
    if (child == 0) {
      close(ends[1]);
      char address[256] = {};
      const ssize_t size = read(ends[0], address, sizeof(address) - 1);
      return size <= 0 ? 1 : Report(RunRank(options, rank, std::string(address, static_cast<size_t>(size))));
    }
    close(ends[0]);
    pipes.push_back(ends[1]);
  }
  const auto store = collective::Store::Start("127.0.0.1");
  if (!store.ok()) return Report(store.status());
  for (const int end : pipes) {
    const std::string& address = (*store)->address();
    if (write(end, address.data(), address.size()) < 0) return Report(absl::InternalError("a rank has ended"));
    close(end);
  }
  int code = Report(RunRank(options, 0, (*store)->address()));
  for (int status = 0; wait(&status) > 0;) {
    if (status != 0) code = 1;
  }
  return code;
}

}  // namespace
}  // namespace bert::model

int main(int argc, char** argv) {
  bert::model::Options options;
  CLI::App app("Measures training steps of the model on synthetic rows.");
  app.add_option("--size", options.size)->check(CLI::IsMember({"mini", "base", "large"}))->capture_default_str();
  app.add_option("--precision", options.precision)->check(CLI::IsMember({"bf16", "fp32"}))->capture_default_str();
  app.add_option("--rows", options.rows, "Rows of a batch")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--micro-batch", options.micro_batch, "Rows computed at once; 0: all of a rank")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--seq", options.seq, "Tokens of a row")->check(CLI::Range(8, 512))->capture_default_str();
  app.add_option("--fill", options.fill, "Mean share of a row that is no padding")
      ->check(CLI::Range(0.5, 1.0))
      ->capture_default_str();
  app.add_option("--segments", options.segments, "Segments of a row")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--dropout", options.dropout)->check(CLI::Range(0.0, 0.9))->capture_default_str();
  app.add_option("--steps", options.steps)->check(CLI::Range(2, 10000))->capture_default_str();
  app.add_option("--threads", options.threads, "Of a rank")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--ranks", options.ranks, "Processes that share a batch")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_flag("--no-overlap", options.no_overlap, "Reduce gradients after the backward pass, not during it");
  app.add_flag("--pre-ln", options.pre_ln);
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return bert::model::RunRanks(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
