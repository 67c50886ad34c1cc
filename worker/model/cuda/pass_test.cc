// Whole passes through the operations for CUDA devices beside the CPU's: emulated on the host always, and on a device
// where there is one.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "worker/model/cuda/emulation.h"
#include "worker/model/masked_lm.h"
#include "worker/model/micro_step.h"
#include "worker/model/static_batch.h"
#include "worker/model/test_batches.h"

namespace bert::model {
namespace {

// Rows with several segments and padding.
MaskedBatch Batch(const ModelConfig& config, uint64_t seed = 1) {
  return DrawBatch({{9, 3, 4}, {16}, {5, 6}}, 16, config, seed);
}

ModelConfig Config(NormPlacement norm, double dropout) {
  ModelConfig config = TinyConfig(norm);
  config.hidden_dropout = dropout;
  return config;
}

std::unique_ptr<MaskedLm> ModelOn(at::Device device, const ModelConfig& config, Precision precision) {
  const std::unique_ptr<MaskedLm> on_cpu = TinyModel(config, precision);
  std::unique_ptr<MaskedLm> model = *MaskedLm::Create(config, precision, device);
  model->parameters().master().copy_(on_cpu->parameters().master());
  model->parameters().RefreshCompute();
  return model;
}

struct Pass {
  double nll = 0;
  at::Tensor grad;  // On the CPU.
};

Pass PassOn(at::Device device, const ModelConfig& config, Precision precision) {
  const std::unique_ptr<MaskedLm> model = ModelOn(device, config, precision);
  const LossSums sums = model->ForwardBackward(ToDevice(Batch(config), device), 11);
  return {.nll = sums.nll.item<double>(), .grad = model->parameters().grad().cpu().clone()};
}

void ExpectClose(const Pass& actual, const Pass& expected, double tolerance) {
  EXPECT_NEAR(actual.nll, expected.nll, tolerance * expected.nll);
  const double largest = expected.grad.abs().max().item<double>();
  EXPECT_LT((actual.grad - expected.grad).abs().max().item<double>(), tolerance * largest);
}

std::vector<at::Device> Devices() {
  std::vector<at::Device> devices = {at::kCPU};
  if (at::globalContext().hasCUDA()) devices.push_back(at::Device("cuda:0"));
  return devices;
}

class CudaPassTest : public testing::TestWithParam<at::Device> {
 protected:
  // On the host the kernels are emulated from here on.
  void UseKernels(cuda::Order order = cuda::Order::kScattered) {
    emulation_.reset();
    if (GetParam().is_cpu()) emulation_.emplace(order);
  }

  std::optional<cuda::Emulation> emulation_;
};

INSTANTIATE_TEST_SUITE_P(Devices, CudaPassTest, testing::ValuesIn(Devices()),
                         [](const auto& info) { return info.param.is_cpu() ? "Emulated" : "Cuda"; });

TEST_P(CudaPassTest, IsTheCpusInFp32) {
  for (const NormPlacement norm : {NormPlacement::kPreLn, NormPlacement::kPostLn}) {
    for (const double dropout : {0.0, 0.2}) {
      emulation_.reset();
      const ModelConfig config = Config(norm, dropout);
      const Pass expected = PassOn(at::kCPU, config, Precision::kFp32);
      UseKernels();
      ExpectClose(PassOn(GetParam(), config, Precision::kFp32), expected, 1e-4);
    }
  }
}

// With products as cuBLASLt computes them and flash attention's way of naming segments.
TEST_P(CudaPassTest, IsNearTheCpusInBf16) {
  for (const NormPlacement norm : {NormPlacement::kPreLn, NormPlacement::kPostLn}) {
    emulation_.reset();
    const ModelConfig config = Config(norm, 0.2);
    const Pass fp32 = PassOn(at::kCPU, config, Precision::kFp32);
    const Pass bf16 = PassOn(at::kCPU, config, Precision::kBf16);
    UseKernels();
    const Pass passed = PassOn(GetParam(), config, Precision::kBf16);
    ExpectClose(passed, bf16, 4e-2);
    ExpectClose(passed, fp32, 4e-2);
  }
}

TEST_P(CudaPassTest, RepeatsItsBits) {
  const ModelConfig config = Config(NormPlacement::kPreLn, 0.2);
  std::vector<Pass> passes;
  for (const cuda::Order order : {cuda::Order::kAscending, cuda::Order::kDescending, cuda::Order::kScattered}) {
    UseKernels(order);
    passes.push_back(PassOn(GetParam(), config, Precision::kBf16));
    EXPECT_TRUE(at::equal(passes.back().grad, passes[0].grad));
    EXPECT_EQ(passes.back().nll, passes[0].nll);
  }
}

// What a recorded pass reads: the batch and its seed in one piece of memory, with places that nobody needs.
TEST_P(CudaPassTest, AStaticBatchIsTheSame) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const ModelConfig config = Config(NormPlacement::kPostLn, 0.2);
    const MaskedBatch batch = Batch(config);
    const StaticShape shape = ShapeFor(batch);
    EXPECT_EQ(shape, (StaticShape{.rows = 3, .seq = 16, .masked = 64, .segments = 8}));
    StaticBatch filled(shape, at::TensorOptions());
    filled.Fill(DrawBatch({{16}, {16}, {16}}, 16, config, 5), 1);
    filled.Fill(batch, 11);
    EXPECT_EQ(filled.batch().masked_tokens, batch.labels.numel());
    StaticBatch taken(shape, at::TensorOptions(GetParam()));
    taken.CopyFrom(filled);

    UseKernels();
    const Pass expected = PassOn(GetParam(), config, precision);
    const std::unique_ptr<MaskedLm> model = ModelOn(GetParam(), config, precision);
    const LossSums sums = model->ForwardBackward(taken.batch(), {7, taken.seed()});
    ExpectClose({.nll = sums.nll.item<double>(), .grad = model->parameters().grad().cpu()}, expected, 1e-5);
  }
}

// On a device the first is run, the second recorded and repeated, and the others only repeated.
TEST_P(CudaPassTest, MicroStepsAddUp) {
  ModelConfig config = Config(NormPlacement::kPreLn, 0.2);
  if (!GetParam().is_cpu()) config.attention_dropout = 0.1;
  UseKernels();
  const std::unique_ptr<MaskedLm> model = ModelOn(GetParam(), config, Precision::kBf16);
  const std::unique_ptr<MaskedLm> expected_model = ModelOn(GetParam(), config, Precision::kBf16);
  const std::unique_ptr<MicroStep> micro_step = MakeMicroStep(model.get());
  double expected_nll = 0;
  int64_t masked_tokens = 0;
  for (uint64_t i = 0; i < 5; ++i) {
    const MaskedBatch batch = Batch(config, i);
    micro_step->Run(batch, 100 + i, 0, {});
    expected_nll += expected_model->ForwardBackward(ToDevice(batch, GetParam()), 100 + i).nll.item<double>();
    masked_tokens += batch.labels.numel();
  }
  const MicroStepSums sums = micro_step->TakeSums();
  EXPECT_EQ(sums.masked_tokens, masked_tokens);
  ExpectClose({.nll = sums.nll, .grad = model->parameters().grad().cpu()},
              {.nll = expected_nll, .grad = expected_model->parameters().grad().cpu()}, 1e-5);
  EXPECT_EQ(micro_step->TakeSums().nll, 0);
}

TEST(MaskedBatchTest, LabelsThatDoNotCountChangeNothing) {
  const ModelConfig config = Config(NormPlacement::kPreLn, 0.0);
  const std::unique_ptr<MaskedLm> model = TinyModel(config);
  MaskedBatch batch = Batch(config);
  const LossSums all = model->ForwardBackward(batch, 11);
  const at::Tensor expected = model->parameters().grad().clone();
  model->parameters().ZeroGrad();
  const int64_t count = batch.labels.numel();
  at::Tensor positions = at::zeros({count + 3}, at::kLong);
  positions.slice(0, 0, count).copy_(batch.masked_positions);
  at::Tensor labels = at::full({count + 3}, -1, at::kLong);
  labels.slice(0, 0, count).copy_(batch.labels);
  batch.masked_positions = positions;
  batch.labels = labels;
  batch.masked_tokens = count;
  const LossSums padded = model->ForwardBackward(batch, 11);
  EXPECT_EQ(padded.masked_tokens, all.masked_tokens);
  EXPECT_NEAR(padded.nll.item<double>(), all.nll.item<double>(), 1e-5 * all.nll.item<double>());
  EXPECT_LT((model->parameters().grad() - expected).abs().max().item<double>(),
            1e-6 * expected.abs().max().item<double>());
}

}  // namespace
}  // namespace bert::model
