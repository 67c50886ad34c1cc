// Training on one CUDA device with synthetic full rows, 15% of the tokens masked.
//
//   gpu_step step --rows 256 --seq 128          a whole step: micro-batches, gradient norm, AdamW
//   gpu_step operations --rows 256 --seq 128    each operation of a layer and of the head alone
//
// `step` prints one JSON line. `mfu` is the share of --peak-tflops that the model's floating-point operations are: for
// a row of s tokens, of which n are masked, in L layers of width d with f in between and V words, 6 s L (4 d^2 + 2 d f)
// + 12 L s^2 d + 6 n (d^2 + d V).
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/model/masked_lm.h"
#include "worker/model/micro_step.h"
#include "worker/trainer/adamw.h"

namespace bert::model {
namespace {

struct Options {
  std::string size = "base";
  std::string precision = "bf16";
  int64_t rows = 256;
  int64_t seq = 128;
  int64_t micro_batches = 1;
  int64_t segments = 1;
  double dropout = 0.1;
  int steps = 30;
  double peak_tflops = 989;
  bool no_graphs = false;
  bool gelu_tanh = false;
};

ModelConfig ConfigOf(const Options& options) {
  ModelConfig config;
  if (options.size == "large") {
    config.hidden_size = 1024;
    config.num_hidden_layers = 24;
    config.num_attention_heads = 16;
    config.intermediate_size = 4096;
  }
  config.hidden_dropout = options.dropout;
  config.attention_dropout = options.dropout;
  if (options.gelu_tanh) config.activation = Activation::kGeluTanh;
  return config;
}

MaskedBatch MakeBatch(const Options& options, const ModelConfig& config, uint64_t seed) {
  std::mt19937_64 random(seed);
  const int64_t tokens = options.rows * options.seq;
  const int64_t length = (options.seq + options.segments - 1) / options.segments;
  MaskedBatch batch;
  batch.input_ids = at::empty({options.rows, options.seq}, at::kLong);
  batch.position_ids = at::empty({options.rows, options.seq}, at::kLong);
  batch.segments = at::empty({options.rows, options.seq}, at::kInt);
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t column = i % options.seq;
    batch.input_ids.mutable_data_ptr<int64_t>()[i] =
        static_cast<int64_t>(random() % static_cast<uint64_t>(config.vocab_size));
    batch.position_ids.mutable_data_ptr<int64_t>()[i] = column % length;
    batch.segments.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(column / length);
  }
  const int64_t masked = tokens * 15 / 100;
  batch.masked_positions = at::empty({masked}, at::kLong);
  for (int64_t i = 0; i < masked; ++i) {
    batch.masked_positions.mutable_data_ptr<int64_t>()[i] = i * tokens / masked;
  }
  batch.labels = batch.input_ids.flatten().index_select(0, batch.masked_positions);
  return batch;
}

double FlopsPerRow(const ModelConfig& config, const Options& options) {
  const double s = static_cast<double>(options.seq);
  const double n = 0.15 * s;
  const double d = static_cast<double>(config.hidden_size);
  const double f = static_cast<double>(config.intermediate_size);
  const double layers = static_cast<double>(config.num_hidden_layers);
  return 6 * s * layers * (4 * d * d + 2 * d * f) + 12 * layers * s * s * d +
         6 * n * (d * d + d * static_cast<double>(config.vocab_size));
}

absl::Status RunSteps(const Options& options) {
  const ModelConfig config = ConfigOf(options);
  const Precision precision = options.precision == "bf16" ? Precision::kBf16 : Precision::kFp32;
  ASSIGN_OR_RETURN(const std::unique_ptr<MaskedLm> model, MaskedLm::Create(config, precision, at::Device("cuda:0")));
  model->InitializeWeights(1);
  trainer::AdamW optimizer(&model->parameters(), trainer::AdamWOptions());
  const std::unique_ptr<MicroStep> micro_step = MakeMicroStep(model.get(), {.graphs = !options.no_graphs});
  std::vector<MaskedBatch> batches;
  for (uint64_t i = 0; i < 4; ++i) batches.push_back(MakeBatch(options, config, i));
  std::vector<double> seconds;
  double loss = 0;
  uint64_t number = 0;
  for (int step = 0; step < options.steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    model->parameters().ZeroGrad();
    for (int64_t i = 0; i < options.micro_batches; ++i, ++number) {
      micro_step->Run(batches[number % batches.size()], number, 0, {});
    }
    const MicroStepSums sums = micro_step->TakeSums();
    const double masked = static_cast<double>(sums.masked_tokens);
    loss = sums.nll / masked;
    const double norm = trainer::GradientNorm(model->parameters().grad()) / masked;
    optimizer.Step({.step = step + 1, .learning_rate = 1e-4, .gradient_scale = 1 / masked / std::max(1.0, norm)});
    c10::cuda::device_synchronize();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  // The first ones record the graphs.
  std::sort(seconds.begin() + 5, seconds.end());
  const double median = seconds[5 + (seconds.size() - 5) / 2];
  const double rows = static_cast<double>(options.rows * options.micro_batches);
  const auto memory = c10::cuda::CUDACachingAllocator::getDeviceStats(0).reserved_bytes[0].peak;
  std::printf(
      "{\"size\": \"%s\", \"precision\": \"%s\", \"rows\": %lld, \"micro_batches\": %lld, \"seq\": %lld, \"graphs\": "
      "%s, "
      "\"step_ms\": %.3f, \"rows_per_s\": %.1f, \"tokens_per_s\": %.0f, \"tflops\": %.1f, \"mfu\": %.4f, "
      "\"reserved_gib\": %.2f, \"loss\": %.4f}\n",
      options.size.c_str(), options.precision.c_str(), static_cast<long long>(options.rows),
      static_cast<long long>(options.micro_batches), static_cast<long long>(options.seq),
      options.no_graphs ? "false" : "true", median * 1e3, rows / median,
      rows * static_cast<double>(options.seq) / median, rows / median * FlopsPerRow(config, options) / 1e12,
      rows / median * FlopsPerRow(config, options) / 1e12 / options.peak_tflops,
      static_cast<double>(memory) / (1 << 30), loss);
  return absl::OkStatus();
}

// The median time of one call on the device, without the host's.
double Microseconds(const std::function<void()>& work) {
  constexpr int kRounds = 9;
  constexpr int kCalls = 10;
  std::vector<double> times;
  for (int round = 0; round <= kRounds; ++round) {
    at::cuda::CUDAEvent begin(cudaEventDefault);
    at::cuda::CUDAEvent end(cudaEventDefault);
    begin.record();
    for (int i = 0; i < kCalls; ++i) work();
    end.record();
    end.synchronize();
    // The first round chooses algorithms and fills the allocator's cache.
    if (round > 0) times.push_back(static_cast<double>(begin.elapsed_time(end)) * 1e3 / kCalls);
  }
  std::sort(times.begin(), times.end());
  return times[kRounds / 2];
}

// Draws what the operations take.
class Operands {
 public:
  at::Tensor Matrix(int64_t rows, int64_t columns) const { return at::randn({rows, columns}, bf16_); }
  Weight Of(at::IntArrayRef shape) const { return {at::randn(shape, bf16_), at::zeros(shape, fp32_)}; }
  Weight Fp32Of(at::IntArrayRef shape) const { return {at::randn(shape, fp32_), at::zeros(shape, fp32_)}; }
  at::Tensor Ids(int64_t limit, int64_t count) const { return at::randint(limit, {count}, fp32_.dtype(at::kLong)); }

 private:
  at::TensorOptions fp32_ = at::TensorOptions(at::Device("cuda:0")).dtype(at::kFloat);
  at::TensorOptions bf16_ = fp32_.dtype(at::kBFloat16);
};

void Print(const std::string& name, double microseconds, double bytes, double flops) {
  std::printf("%-36s %9.1f us", name.c_str(), microseconds);
  if (bytes > 0) std::printf("  %7.0f GB/s", bytes / microseconds / 1e3);
  if (flops > 0) std::printf("  %7.1f TFLOP/s", flops / microseconds / 1e6);
  std::printf("\n");
}

void TimeProduct(const Operands& make, const std::string& name, int64_t rows, int64_t in, int64_t out) {
  const at::Tensor x = make.Matrix(rows, in);
  const Weight weight = make.Of({out, in});
  const at::Tensor d = MatMul(x, weight);
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  Print(name + " forward", Microseconds([&] { MatMul(x, weight); }), 0, flops);
  Print(name + " backward", Microseconds([&] { MatMulBackward(d, x, weight); }), 0, 2 * flops);
}

void TimeLayer(const Operands& make, const Options& options, const ModelConfig& config) {
  const int64_t tokens = options.rows * options.seq;
  const int64_t hidden = config.hidden_size;
  const int64_t wide = config.intermediate_size;
  const double matrix = 2.0 * static_cast<double>(tokens) * static_cast<double>(hidden);
  const Dropout dropout = {.probability = options.dropout, .key = 5};

  TimeProduct(make, "query, key, value", tokens, hidden, 3 * hidden);
  TimeProduct(make, "attention output", tokens, hidden, hidden);
  TimeProduct(make, "intermediate", tokens, hidden, wide);
  TimeProduct(make, "output", tokens, wide, hidden);

  const at::Tensor x = make.Matrix(tokens, wide);
  const Weight bias = make.Of({wide});
  const double matrix_wide = 2.0 * static_cast<double>(tokens) * static_cast<double>(wide);
  Print("bias + GELU forward", Microseconds([&] { BiasGelu(x, bias, config.activation); }), 2 * matrix_wide, 0);
  at::Tensor d_wide = make.Matrix(tokens, wide);
  Print("bias + GELU backward", Microseconds([&] { BiasGeluBackward(d_wide, x, bias, config.activation); }),
        3 * matrix_wide, 0);

  const Affine norm = {make.Fp32Of({hidden}), make.Fp32Of({hidden})};
  const Weight branch_bias = make.Of({hidden});
  const NormSite site = {.norm = &norm, .eps = 1e-12, .bias = &branch_bias, .dropout = dropout};
  const at::Tensor branch = make.Matrix(tokens, hidden);
  const at::Tensor residual = make.Matrix(tokens, hidden);
  const Normed normed = AddDropoutNorm(branch, residual, site);
  Print("residual + dropout + LayerNorm forward", Microseconds([&] { AddDropoutNorm(branch, residual, site); }),
        4 * matrix, 0);
  NormedInflow inflow;
  inflow.d_output = make.Matrix(tokens, hidden);
  inflow.d_output_too = residual;
  Print("the same backward", Microseconds([&] { AddDropoutNormBackward(inflow, normed, site); }), 5 * matrix, 0);

  at::Tensor segments = at::zeros({options.rows, options.seq}, residual.options().dtype(at::kInt));
  const AttentionPlan plan =
      MakeAttentionPlan(segments, config.num_attention_heads, hidden / config.num_attention_heads, options.rows);
  const at::Tensor query_key_value = make.Matrix(tokens, 3 * hidden);
  const Weight query_bias = make.Of({3 * hidden});
  const double products = 4.0 * static_cast<double>(tokens * options.seq) * static_cast<double>(hidden);
  Print("attention forward", Microseconds([&] { Attention(query_key_value, query_bias, plan, dropout); }), 0, products);
  const Attended attended = Attention(query_key_value, query_bias, plan, dropout);
  Print("attention backward",
        Microseconds([&] { AttentionBackward(residual, query_key_value, query_bias, attended, plan, dropout); }), 0,
        2.5 * products);
}

void TimeRest(const Operands& make, const Options& options, const ModelConfig& config, MaskedLm& model) {
  const int64_t tokens = options.rows * options.seq;
  const int64_t hidden = config.hidden_size;
  const int64_t masked = tokens * 15 / 100;
  const Embeddings embeddings = {.word = make.Fp32Of({config.vocab_size, hidden}),
                                 .position = make.Fp32Of({config.max_position_embeddings, hidden}),
                                 .token_type = make.Fp32Of({config.type_vocab_size, hidden})};
  const EmbeddingIds ids = {
      .words = make.Ids(config.vocab_size, tokens), .positions = make.Ids(options.seq, tokens), .token_types = {}};
  const at::Tensor d = make.Matrix(tokens, hidden);
  Print("embeddings forward", Microseconds([&] { Embed(ids, embeddings, at::kBFloat16); }), 0, 0);
  Print("embeddings backward", Microseconds([&] { EmbedBackward(d, ids, embeddings); }), 0, 0);

  TimeProduct(make, "decoder", masked, hidden, config.vocab_size);
  const Weight bias = make.Of({config.vocab_size});
  const at::Tensor labels = make.Ids(config.vocab_size, masked);
  const at::Tensor logits = MatMul(make.Matrix(masked, hidden), make.Of({config.vocab_size, hidden}));
  Print("cross-entropy with gradient", Microseconds([&] { CrossEntropy(logits, bias, labels, true); }),
        2.0 * 3 * static_cast<double>(masked * config.vocab_size), 0);

  Parameters& parameters = model.parameters();
  const double count = static_cast<double>(parameters.size());
  trainer::AdamW optimizer(&parameters, trainer::AdamWOptions());
  int64_t step = 0;
  Print("AdamW", Microseconds([&] { optimizer.Step({.step = ++step, .learning_rate = 1e-4, .gradient_scale = 1}); }),
        30 * count, 0);
  Print("gradient norm, with its way to the host", Microseconds([&] { trainer::GradientNorm(parameters.grad()); }),
        4 * count, 0);
}

absl::Status RunOperations(const Options& options) {
  const ModelConfig config = ConfigOf(options);
  ASSIGN_OR_RETURN(const std::unique_ptr<MaskedLm> model,
                   MaskedLm::Create(config, Precision::kBf16, at::Device("cuda:0")));
  model->InitializeWeights(1);
  const Operands make;
  TimeLayer(make, options, config);
  TimeRest(make, options, config, *model);
  return absl::OkStatus();
}

int Report(const std::function<absl::Status()>& work) {
  try {
    const absl::Status status = work();
    if (status.ok()) return 0;
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}

}  // namespace
}  // namespace bert::model

int main(int argc, char** argv) {
  bert::model::Options options;
  CLI::App app("Measures training on a CUDA device.");
  app.require_subcommand(1);
  CLI::App* step = app.add_subcommand("step", "Whole training steps");
  CLI::App* operations = app.add_subcommand("operations", "Each operation alone");
  for (CLI::App* command : {step, operations}) {
    command->add_option("--size", options.size)->check(CLI::IsMember({"base", "large"}))->capture_default_str();
    command->add_option("--rows", options.rows, "Rows of a micro-batch")->check(CLI::Range(1, 100000));
    command->add_option("--seq", options.seq, "Tokens of a row")->check(CLI::Range(8, 512))->capture_default_str();
    command->add_option("--dropout", options.dropout)->check(CLI::Range(0.0, 0.9))->capture_default_str();
    command->add_flag("--gelu-tanh", options.gelu_tanh);
  }
  step->add_option("--precision", options.precision)->check(CLI::IsMember({"bf16", "fp32"}))->capture_default_str();
  step->add_option("--micro-batches", options.micro_batches)->check(CLI::Range(1, 1000))->capture_default_str();
  step->add_option("--segments", options.segments, "Segments of a row")->check(CLI::Range(1, 64));
  step->add_option("--steps", options.steps)->check(CLI::Range(6, 10000))->capture_default_str();
  step->add_option("--peak-tflops", options.peak_tflops, "Of the device, dense bf16")->capture_default_str();
  step->add_flag("--no-graphs", options.no_graphs, "Launch each kernel alone");
  CLI11_PARSE(app, argc, argv);
  return bert::model::Report(
      [&] { return step->parsed() ? bert::model::RunSteps(options) : bert::model::RunOperations(options); });
}
