// The kernels for CUDA devices against the same operations in plain ATen: emulated on the host always, and on a device
// where there is one.
#include "worker/model/cuda/operations.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "worker/model/cpu/operations.h"
#include "worker/model/cuda/emulation.h"
#include "worker/model/generic_operations.h"

namespace bert::model {
namespace {

struct Case {
  std::string name;
  at::Device device;
  at::ScalarType dtype;
  double tolerance;  // Relative to the largest value: of fp32 sums, and of roundings to bf16 at different places.
};

std::vector<Case> Cases() {
  std::vector<Case> cases = {{"EmulatedFp32", at::kCPU, at::kFloat, 4e-6},
                             {"EmulatedBf16", at::kCPU, at::kBFloat16, 2e-2}};
  if (at::globalContext().hasCUDA()) {
    cases.push_back({"CudaFp32", at::Device("cuda:0"), at::kFloat, 4e-6});
    cases.push_back({"CudaBf16", at::Device("cuda:0"), at::kBFloat16, 2e-2});
  }
  return cases;
}

// Two vectors of lanes and a remainder; more rows than a block of rows has.
constexpr int64_t kRows = 77;
constexpr int64_t kColumns = 172;

class CudaOperationsTest : public testing::TestWithParam<Case> {
 protected:
  at::Tensor Draw(std::vector<int64_t> shape, double scale = 1) {
    at::Tensor values = at::empty(shape, at::kFloat);
    return values.normal_(0, scale, generator_).to(GetParam().dtype).to(GetParam().device);
  }
  at::Tensor Zeros(at::IntArrayRef shape) { return at::zeros(shape, at::TensorOptions(GetParam().device)); }
  Weight DrawWeight(std::vector<int64_t> shape) { return {Draw(shape), Zeros(shape)}; }
  Weight DrawFp32(std::vector<int64_t> shape) { return {Draw(shape).to(at::kFloat), Zeros(shape)}; }
  at::Tensor DrawIds(int64_t limit, int64_t count) {
    return at::randint(limit, {count}, generator_, at::kLong).to(GetParam().device);
  }
  Weight Fresh(const Weight& weight) { return {weight.value, Zeros(weight.grad.sizes())}; }

  void ExpectAllClose(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(actual[i].sizes(), expected[i].sizes()) << "output " << i;
      EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type()) << "output " << i;
      const at::Tensor difference = (actual[i].to(at::kDouble) - expected[i].to(at::kDouble)).abs();
      EXPECT_LE(difference.max().item<double>(), GetParam().tolerance * expected[i].abs().max().item<double>())
          << "output " << i;
    }
  }

  // The outputs of `work` by the kernels. Repeated, on the host with the threads in other orders, they must agree in
  // every bit.
  std::vector<at::Tensor> ByKernels(const std::function<std::vector<at::Tensor>(const cuda::Launcher&)>& work) {
    std::vector<std::vector<at::Tensor>> runs;
    for (const cuda::Order order : {cuda::Order::kAscending, cuda::Order::kDescending, cuda::Order::kScattered}) {
      std::optional<cuda::Emulation> emulation;
      if (GetParam().device.is_cpu()) emulation.emplace(order);
      const cuda::Launcher* launcher = cuda::LauncherFor(Zeros({1}));
      EXPECT_NE(launcher, nullptr);
      runs.push_back(work(*launcher));
    }
    for (const std::vector<at::Tensor>& run : runs) {
      for (size_t i = 0; i < run.size(); ++i) EXPECT_TRUE(at::equal(run[i], runs[0][i])) << "output " << i;
    }
    return runs[0];
  }

  at::Generator generator_ = at::detail::createCPUGenerator(1);
  const Dropout dropout_{.probability = 0.2, .key = DropoutKey(3, 4)};
};

INSTANTIATE_TEST_SUITE_P(Devices, CudaOperationsTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(CudaOperationsTest, BiasGelu) {
  const at::Tensor x = Draw({kRows, kColumns}, 3);
  const at::Tensor d = Draw({kRows, kColumns});
  const Weight bias = DrawWeight({kColumns});
  for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh}) {
    const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
      const Weight fresh = Fresh(bias);
      const at::Tensor output = cuda::BiasGelu(launcher, x, fresh, activation);
      return std::vector{output, cuda::BiasGeluBackward(launcher, d.clone(), x, fresh, activation), fresh.grad};
    });
    const Weight fresh = Fresh(bias);
    const at::Tensor output = generic::BiasGelu(x, fresh, activation);
    ExpectAllClose(kernels, {output, generic::BiasGeluBackward(d.clone(), x, fresh, activation), fresh.grad});
  }
}

TEST_P(CudaOperationsTest, GeluTanhOfLargeValues) {
  const at::Tensor x = at::full({2, 8}, -60.0).to(GetParam().dtype).to(GetParam().device);
  x[1].fill_(60.0);
  const at::Tensor d = x.sign();
  const Weight bias = {Zeros({8}).to(GetParam().dtype), Zeros({8})};
  const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
    return std::vector{cuda::BiasGelu(launcher, x, bias, Activation::kGeluTanh),
                       cuda::BiasGeluBackward(launcher, d.clone(), x, Fresh(bias), Activation::kGeluTanh)};
  });
  ExpectAllClose(kernels, {x.clamp_min(0), d.clamp_min(0)});
}

TEST_P(CudaOperationsTest, ApplyDropout) {
  const at::Tensor x = Draw({kRows, kColumns});
  const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
    at::Tensor copy = x.clone();
    cuda::ApplyDropout(launcher, copy, dropout_);
    return std::vector{copy};
  });
  at::Tensor expected = x.clone();
  generic::ApplyDropout(expected, dropout_);
  ExpectAllClose(kernels, {expected});
  // The CPU's bits too.
  at::Tensor on_cpu = x.cpu();
  cpu::ApplyDropout(on_cpu, dropout_);
  EXPECT_TRUE(at::equal(kernels[0].cpu(), on_cpu));
}

TEST_P(CudaOperationsTest, DropoutReadsItsSeedFromMemory) {
  const at::Tensor x = Draw({kRows, kColumns});
  const at::Tensor seed = at::full({1}, 3, at::kLong).to(GetParam().device);
  const Dropout with_seed = {
      .probability = 0.2, .key = 0, .seed = static_cast<const uint64_t*>(seed.data_ptr()), .site = 4};
  const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
    at::Tensor one = x.clone();
    at::Tensor two = x.clone();
    cuda::ApplyDropout(launcher, one, dropout_);
    cuda::ApplyDropout(launcher, two, with_seed);
    return std::vector{one, two};
  });
  EXPECT_TRUE(at::equal(kernels[0], kernels[1]));
}

TEST_P(CudaOperationsTest, AddDropoutNorm) {
  // Wide enough for each number of registers a row takes.
  for (const int64_t columns : {kColumns, int64_t{640}, int64_t{1000}, int64_t{1100}}) {
    const int64_t rows = columns == kColumns ? kRows : 9;
    const at::Tensor branch = Draw({rows, columns});
    const at::Tensor residual = Draw({rows, columns});
    const at::Tensor d = Draw({rows, columns});
    const at::Tensor d_more = Draw({rows, columns});
    const Affine norm = {DrawFp32({columns}), DrawFp32({columns})};
    const Weight bias = DrawWeight({columns});
    for (int flags = 0; flags < (columns == kColumns ? 16 : 1); ++flags) {
      const bool with_residual = (flags & 1) == 0;
      const bool with_bias = (flags & 2) == 0;
      const bool with_dropout = (flags & 4) == 0;
      const bool post_ln = (flags & 8) == 0;
      const auto run = [&](auto forward, auto backward) {
        const Affine fresh = {Fresh(norm.weight), Fresh(norm.bias)};
        const Weight fresh_bias = Fresh(bias);
        const NormSite site = {.norm = &fresh,
                               .eps = 1e-5,
                               .bias = with_bias ? &fresh_bias : nullptr,
                               .dropout = with_dropout ? dropout_ : Dropout()};
        const Normed normed = forward(branch.clone(), with_residual ? residual : at::Tensor(), site);
        NormedInflow inflow;
        inflow.d_output = d;
        if (with_residual) (post_ln ? inflow.d_output_too : inflow.d_sum) = d_more;
        const NormedGrad grad = backward(inflow, normed, site);
        std::vector<at::Tensor> outputs = {normed.sum, normed.output, normed.mean,       normed.rstd,
                                           grad.d_sum, grad.d_branch, fresh.weight.grad, fresh.bias.grad};
        if (with_bias) outputs.push_back(fresh_bias.grad);
        return outputs;
      };
      const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
        return run([&](at::Tensor x, const at::Tensor& r,
                       const NormSite& s) { return cuda::AddDropoutNorm(launcher, std::move(x), r, s); },
                   [&](const NormedInflow& inflow, const Normed& normed, const NormSite& s) {
                     return cuda::AddDropoutNormBackward(launcher, inflow, normed, s);
                   });
      });
      ExpectAllClose(kernels, run(generic::AddDropoutNorm, generic::AddDropoutNormBackward));
    }
  }
}

TEST_P(CudaOperationsTest, CrossEntropy) {
  // No multiple of four, in rows that are padded to one; more columns than a block has threads for at once.
  for (const int64_t vocabulary : {int64_t{39}, int64_t{2331}}) {
    const int64_t padded = (vocabulary + 3) / 4 * 4;
    const at::Tensor logits = Draw({20, padded}, 4);
    logits.narrow(1, vocabulary, padded - vocabulary).fill_(std::numeric_limits<float>::quiet_NaN());
    at::Tensor labels = DrawIds(vocabulary, 20);
    labels[3].fill_(-1);
    labels[5].fill_(vocabulary - 1);
    const Weight bias = DrawWeight({vocabulary});
    const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
      const Weight fresh = Fresh(bias);
      const at::Tensor own = logits.clone().narrow(1, 0, vocabulary);
      const CrossEntropyResult plain = cuda::CrossEntropy(launcher, own, fresh, labels, false);
      EXPECT_FALSE(plain.d_logits.defined());
      const CrossEntropyResult result = cuda::CrossEntropy(launcher, own, fresh, labels, true);
      EXPECT_TRUE(at::equal(plain.nll, result.nll));
      EXPECT_EQ(result.d_logits[3].abs().max().item<double>(), 0);
      return std::vector{result.nll, result.d_logits.clone(), fresh.grad};
    });
    const Weight fresh = Fresh(bias);
    const at::Tensor own = logits.narrow(1, 0, vocabulary).contiguous();
    const CrossEntropyResult expected = generic::CrossEntropy(own.clone(), fresh, labels, true);
    ExpectAllClose(kernels, {expected.nll, expected.d_logits, fresh.grad});
    if (!GetParam().device.is_cpu()) continue;
    const Weight on_cpu = Fresh(bias);
    const CrossEntropyResult loops = cpu::CrossEntropy(own.clone(), on_cpu, labels, true);
    ExpectAllClose({loops.nll, loops.d_logits, on_cpu.grad}, {expected.nll, expected.d_logits, fresh.grad});
  }
}

TEST_P(CudaOperationsTest, CrossEntropyKeepsNaN) {
  const at::Tensor logits = Draw({kRows, kColumns});
  logits[5][7] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor labels = DrawIds(kColumns, kRows);
  const Weight bias = DrawWeight({kColumns});
  for (const int64_t column : {0, 7}) {
    logits[5][column] = std::numeric_limits<float>::quiet_NaN();
    std::optional<cuda::Emulation> emulation;
    if (GetParam().device.is_cpu()) emulation.emplace();
    const cuda::Launcher& launcher = *cuda::LauncherFor(logits);
    EXPECT_TRUE(cuda::CrossEntropy(launcher, logits.clone(), bias, labels, true).nll.isnan().item<bool>());
  }
}

TEST_P(CudaOperationsTest, Embed) {
  // Runs of an id within a chunk of sorted tokens, over the border of two, and over several chunks.
  constexpr int64_t kTokens = 330;
  at::Tensor ids = DrawIds(40, kTokens);
  ids.slice(0, 0, kTokens, 2).fill_(17);
  const at::Tensor positions = DrawIds(30, kTokens);
  const at::Tensor d = Draw({kTokens, kColumns});
  const Embeddings embeddings = {
      .word = DrawFp32({41, kColumns}), .position = DrawFp32({30, kColumns}), .token_type = DrawFp32({2, kColumns})};
  const auto fresh = [&] {
    return Embeddings{.word = Fresh(embeddings.word),
                      .position = Fresh(embeddings.position),
                      .token_type = Fresh(embeddings.token_type)};
  };
  for (const at::Tensor& token_types : {at::Tensor(), DrawIds(2, kTokens)}) {
    const EmbeddingIds all = {.words = ids, .positions = positions, .token_types = token_types};
    const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
      const Embeddings own = fresh();
      const at::Tensor output = cuda::Embed(launcher, all, own, GetParam().dtype);
      cuda::EmbedBackward(launcher, d, all, own);
      return std::vector{output, own.word.grad, own.position.grad, own.token_type.grad};
    });
    const Embeddings own = fresh();
    const at::Tensor output = generic::Embed(all, own, GetParam().dtype);
    generic::EmbedBackward(d, all, own);
    ExpectAllClose(kernels, {output, own.word.grad, own.position.grad, own.token_type.grad});
  }
}

TEST_P(CudaOperationsTest, GradientsAreAddedTo) {
  const at::Tensor d = Draw({3, 8});
  const at::Tensor ids = DrawIds(2, 3);
  const Embeddings embeddings = {
      .word = DrawFp32({2, 8}), .position = DrawFp32({2, 8}), .token_type = DrawFp32({2, 8})};
  ByKernels([&](const cuda::Launcher& launcher) {
    const Embeddings twice = {.word = Fresh(embeddings.word),
                              .position = Fresh(embeddings.position),
                              .token_type = Fresh(embeddings.token_type)};
    cuda::EmbedBackward(launcher, d, {.words = ids, .positions = ids, .token_types = {}}, twice);
    const at::Tensor once = at::cat({twice.word.grad, twice.token_type.grad});
    cuda::EmbedBackward(launcher, d, {.words = ids, .positions = ids, .token_types = {}}, twice);
    ExpectAllClose({at::cat({twice.word.grad, twice.token_type.grad})}, {once * 2});
    return std::vector{once};
  });
}

TEST_P(CudaOperationsTest, JoinColumns) {
  const at::Tensor all = Draw({kRows, 3, 40});
  const Weight bias = DrawWeight({120});
  const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
    const Weight fresh = Fresh(bias);
    const at::Tensor joined =
        cuda::JoinColumns(launcher, {all.select(1, 2), all.select(1, 0), all.select(1, 1)}, fresh.grad);
    return std::vector{joined, fresh.grad};
  });
  const at::Tensor expected = at::cat({all.select(1, 2), all.select(1, 0), all.select(1, 1)}, 1);
  ExpectAllClose(kernels, {expected, expected.to(at::kFloat).sum(0)});
}

TEST_P(CudaOperationsTest, SegmentStarts) {
  at::Tensor segments = at::zeros({3, 700}, at::kInt);  // One; three; two and padding: seven, the padding being one.
  segments[1].narrow(0, 4, 1).fill_(1);
  segments[1].narrow(0, 5, 695).fill_(2);
  segments[2].narrow(0, 9, 3).fill_(1);
  segments[2].narrow(0, 12, 688).fill_(-1);
  const std::vector<int64_t> expected = {0, 700, 704, 705, 1400, 1409, 1412, 2100, 2100, 2100};
  for (const int64_t capacity : {7, 9}) {
    const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
      return std::vector{cuda::SegmentStarts(launcher, segments.to(GetParam().device), capacity)};
    });
    ASSERT_EQ(kernels[0].numel(), capacity + 1);
    for (int64_t i = 0; i <= capacity; ++i) {
      EXPECT_EQ(kernels[0][i].item<int64_t>(), expected[static_cast<size_t>(i)]) << i;
    }
  }
}

// Whatever does not suit the kernels is computed all the same.
TEST_P(CudaOperationsTest, OddShapes) {
  const at::Tensor x = Draw({kRows, 39});
  const Weight bias = DrawWeight({39});
  const Affine norm = {DrawFp32({39}), DrawFp32({39})};
  const NormSite site = {.norm = &norm, .eps = 1e-5, .bias = &bias, .dropout = dropout_};
  const auto kernels = ByKernels([&](const cuda::Launcher& launcher) {
    return std::vector{cuda::BiasGelu(launcher, x, bias, Activation::kGelu),
                       cuda::AddDropoutNorm(launcher, x.clone(), x, site).output};
  });
  ExpectAllClose(kernels,
                 {generic::BiasGelu(x, bias, Activation::kGelu), generic::AddDropoutNorm(x.clone(), x, site).output});
}

}  // namespace
}  // namespace bert::model
