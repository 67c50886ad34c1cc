// The fused loops against the same operations in plain ATen.
#include "worker/model/cpu/operations.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "worker/model/cpu/memory.h"
#include "worker/model/cpu/parallel.h"
#include "worker/model/cpu/products.h"
#include "worker/model/cpu/weight_gradient.h"
#include "worker/model/generic_operations.h"

namespace bert::model {
namespace {

// Odd sizes, so that vectors have remainders.
constexpr int64_t kRows = 77;
constexpr int64_t kColumns = 39;

struct Case {
  std::string name;
  at::ScalarType dtype;
  double tolerance;  // Relative to the largest value: of fp32 sums, and of roundings to bf16 at different places.
};

class CpuOperationsTest : public testing::TestWithParam<Case> {
 protected:
  at::Tensor Draw(std::vector<int64_t> shape, double scale = 1) {
    at::Tensor values = at::empty(shape, at::kFloat);
    return values.normal_(0, scale, generator_).to(GetParam().dtype);
  }
  Weight DrawWeight(std::vector<int64_t> shape) { return {Draw(shape), at::zeros(shape)}; }
  // LayerNorm's values are fp32 always.
  Affine DrawNorm() {
    return {{Draw({kColumns}).to(at::kFloat), at::zeros({kColumns})},
            {Draw({kColumns}).to(at::kFloat), at::zeros({kColumns})}};
  }
  at::Tensor DrawIds(int64_t limit, int64_t count) { return at::randint(limit, {count}, generator_, at::kLong); }

  static Weight Fresh(const Weight& weight) { return {weight.value, at::zeros(weight.grad.sizes())}; }

  void ExpectClose(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
    ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
    EXPECT_EQ(actual.scalar_type(), expected.scalar_type()) << what;
    const at::Tensor difference = (actual.to(at::kDouble) - expected.to(at::kDouble)).abs();
    EXPECT_LT(difference.max().item<double>() / expected.abs().max().item<double>(), GetParam().tolerance) << what;
  }

  // Calls it with one and with three threads; the outputs must agree in every bit.
  static std::vector<at::Tensor> OnAnyThreads(const std::function<std::vector<at::Tensor>()>& work) {
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const std::vector<at::Tensor> one = work();
    at::set_num_threads(3);
    const std::vector<at::Tensor> three = work();
    at::set_num_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << "output " << i;
    return one;
  }

  void ExpectAllClose(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) ExpectClose(actual[i], expected[i], "output " + std::to_string(i));
  }

  at::Generator generator_ = at::detail::createCPUGenerator(1);
  const Dropout dropout_{.probability = 0.2, .key = DropoutKey(3, 4)};
};

INSTANTIATE_TEST_SUITE_P(Types, CpuOperationsTest,
                         testing::Values(Case{"Fp32", at::kFloat, 2e-6}, Case{"Bf16", at::kBFloat16, 2e-2}),
                         [](const auto& info) { return info.param.name; });

TEST_P(CpuOperationsTest, BiasGelu) {
  const at::Tensor x = Draw({kRows, kColumns}, 3);
  const at::Tensor d = Draw({kRows, kColumns});
  const Weight bias = DrawWeight({kColumns});
  for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh}) {
    const auto run = [&](auto forward, auto backward) {
      const Weight fresh = Fresh(bias);
      const at::Tensor output = forward(x, fresh, activation);
      return std::vector<at::Tensor>{output, backward(d.clone(), x, fresh, activation), fresh.grad};
    };
    ExpectAllClose(OnAnyThreads([&] { return run(cpu::BiasGelu, cpu::BiasGeluBackward); }),
                   run(generic::BiasGelu, generic::BiasGeluBackward));
  }
}

TEST_P(CpuOperationsTest, ApplyDropout) {
  const at::Tensor x = Draw({kRows, kColumns});
  const auto run = [&](auto apply) {
    at::Tensor copy = x.clone();
    apply(copy, dropout_);
    return std::vector<at::Tensor>{copy};
  };
  const at::Tensor dropped = OnAnyThreads([&] { return run(cpu::ApplyDropout); })[0];
  ExpectAllClose({dropped}, run(generic::ApplyDropout));
  EXPECT_NEAR(dropped.eq(0).to(at::kFloat).mean().item<double>(), 0.2, 0.03);
  EXPECT_NEAR(dropped.ne(0).logical_and(dropped.sign().eq(x.sign())).to(at::kFloat).mean().item<double>(), 0.8, 0.03);
}

TEST_P(CpuOperationsTest, DropoutDiffersBetweenSites) {
  at::Tensor one = at::zeros({10000}).fill_(1);
  at::Tensor two = one.clone();
  cpu::ApplyDropout(one, {.probability = 0.5, .key = DropoutKey(3, 4)});
  cpu::ApplyDropout(two, {.probability = 0.5, .key = DropoutKey(3, 5)});
  // Independent masks agree on half of the elements, at any distance.
  for (const int64_t shift : {0, 1, 2, 16}) {
    const at::Tensor agree = one.narrow(0, 0, 9000).eq(two.narrow(0, shift, 9000));
    EXPECT_NEAR(agree.to(at::kFloat).mean().item<double>(), 0.5, 0.03) << shift;
  }
  EXPECT_NEAR(one.mean().item<double>(), 1, 0.03);
}

TEST_P(CpuOperationsTest, AddDropoutNorm) {
  const at::Tensor branch = Draw({kRows, kColumns});
  const at::Tensor residual = Draw({kRows, kColumns});
  const at::Tensor d = Draw({kRows, kColumns});
  const at::Tensor d_more = Draw({kRows, kColumns});
  const Affine norm = DrawNorm();
  const Weight bias = DrawWeight({kColumns});
  for (const bool with_residual : {false, true}) {
    for (const bool with_bias : {false, true}) {
      for (const bool with_dropout : {false, true}) {
        for (const bool post_ln : {false, true}) {
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
          ExpectAllClose(OnAnyThreads([&] { return run(cpu::AddDropoutNorm, cpu::AddDropoutNormBackward); }),
                         run(generic::AddDropoutNorm, generic::AddDropoutNormBackward));
        }
      }
    }
  }
}

TEST_P(CpuOperationsTest, Attention) {
  constexpr int64_t kSeq = 21;
  constexpr int64_t kHeads = 3;
  at::Tensor segments = at::zeros({3, kSeq}, at::kInt);  // One; three; two and padding.
  segments[1].narrow(0, 4, 1).fill_(1);
  segments[1].narrow(0, 5, 16).fill_(2);
  segments[2].narrow(0, 9, 3).fill_(1);
  segments[2].narrow(0, 12, 9).fill_(-1);
  // The second fills matrix tiles, which not every machine has.
  for (const int64_t head_size : {5, 32}) {
    const int64_t hidden = kHeads * head_size;
    const AttentionPlan plan = MakeAttentionPlan(segments, kHeads, head_size);
    EXPECT_EQ(plan.spans.size(), 6u);
    const at::Tensor tokens = segments.flatten().ge(0).unsqueeze(1);
    const at::Tensor query_key_value = Draw({3 * kSeq, 3 * hidden});
    // What the layers above pass down is zero on padding.
    const at::Tensor d = Draw({3 * kSeq, hidden}) * tokens;
    const Weight bias = DrawWeight({3 * hidden});
    for (const Dropout& dropout : {Dropout(), dropout_}) {
      const auto run = [&](auto forward, auto backward) {
        const Weight fresh = Fresh(bias);
        const Attended attended = forward(query_key_value, fresh, plan, dropout);
        const at::Tensor d_query_key_value = backward(d, query_key_value, fresh, attended, plan, dropout);
        // The output on padding is nobody's; its gradient is zero in both.
        return std::vector<at::Tensor>{attended.output * tokens, d_query_key_value, fresh.grad};
      };
      ExpectAllClose(OnAnyThreads([&] { return run(cpu::Attention, cpu::AttentionBackward); }),
                     run(generic::Attention, generic::AttentionBackward));
    }
  }
}

TEST_P(CpuOperationsTest, CrossEntropy) {
  const at::Tensor logits = Draw({kRows, kColumns}, 4);
  const at::Tensor labels = DrawIds(kColumns, kRows);
  const Weight bias = DrawWeight({kColumns});
  const auto run = [&](auto cross_entropy) {
    const Weight fresh = Fresh(bias);
    const CrossEntropyResult result = cross_entropy(logits.clone(), fresh, labels, true);
    const CrossEntropyResult plain = cross_entropy(logits.clone(), fresh, labels, false);
    EXPECT_TRUE(at::equal(plain.nll, result.nll));
    EXPECT_FALSE(plain.d_logits.defined());
    return std::vector<at::Tensor>{result.nll, result.d_logits, fresh.grad};
  };
  ExpectAllClose(OnAnyThreads([&] { return run(cpu::CrossEntropy); }), run(generic::CrossEntropy));
}

TEST_P(CpuOperationsTest, CrossEntropyKeepsNaN) {
  at::Tensor logits = Draw({kRows, kColumns});
  logits[5][7] = std::numeric_limits<float>::quiet_NaN();
  const Weight bias = DrawWeight({kColumns});
  EXPECT_TRUE(cpu::CrossEntropy(logits, bias, DrawIds(kColumns, kRows), true).nll.isnan().item<bool>());
}

TEST_P(CpuOperationsTest, Embed) {
  constexpr int64_t kTokens = 120;
  const auto table = [&](int64_t rows) {
    const Weight weight = DrawWeight({rows, kColumns});
    return Weight{weight.value.to(at::kFloat), weight.grad};
  };
  const Embeddings embeddings = {.word = table(11), .position = table(30), .token_type = table(2)};
  const at::Tensor ids = DrawIds(11, kTokens);
  const at::Tensor positions = DrawIds(30, kTokens);
  const at::Tensor types = DrawIds(2, kTokens);
  const at::Tensor d = Draw({kTokens, kColumns});
  const auto run = [&](auto forward, auto backward, const at::Tensor& token_types) {
    const Embeddings fresh = {.word = Fresh(embeddings.word),
                              .position = Fresh(embeddings.position),
                              .token_type = Fresh(embeddings.token_type)};
    const EmbeddingIds input = {.words = ids, .positions = positions, .token_types = token_types};
    const at::Tensor output = forward(input, fresh, GetParam().dtype);
    backward(d, input, fresh);
    return std::vector<at::Tensor>{output, fresh.word.grad, fresh.position.grad, fresh.token_type.grad};
  };
  for (const at::Tensor& token_types : {at::Tensor(), types}) {
    ExpectAllClose(OnAnyThreads([&] { return run(cpu::Embed, cpu::EmbedBackward, token_types); }),
                   run(generic::Embed, generic::EmbedBackward, token_types));
  }
}

TEST_P(CpuOperationsTest, Accumulate) {
  const at::Tensor value = Draw({kRows, kColumns});
  const at::Tensor grad = at::zeros({kRows, kColumns}).fill_(0.5);
  cpu::Accumulate(grad, value);
  EXPECT_TRUE(at::equal(grad, value.to(at::kFloat) + 0.5));
}

// Sizes above and below those of the blocks in which it is computed.
TEST_P(CpuOperationsTest, WeightGradient) {
  for (const auto& [tokens, outputs, inputs] : std::vector<std::array<int64_t, 3>>{
           {kRows, kColumns, 24}, {1100, 200, 130}, {32, 128, 64}, {1, 1, 1}, {0, 5, 7}}) {
    const at::Tensor d = Draw({tokens, outputs}).to(at::kBFloat16);
    const at::Tensor x = Draw({tokens, inputs}).to(at::kBFloat16);
    const at::Tensor product = at::mm(d.to(at::kFloat).t(), x.to(at::kFloat));
    const std::vector<at::Tensor> grads = OnAnyThreads([&, outputs = outputs, inputs = inputs] {
      const at::Tensor grad = at::zeros({outputs, inputs}).fill_(std::numeric_limits<float>::quiet_NaN());
      cpu::WeightGradient(d, x, grad, GradMode::kReplace);
      const at::Tensor twice = grad.clone();
      cpu::WeightGradient(d, x, twice, GradMode::kAdd);
      return std::vector<at::Tensor>{grad, twice};
    });
    const double tolerance = (cpu::HasTiles() ? 1e-5 : 8e-3) * (product.abs().max().item<double>() + 1e-3);
    EXPECT_LT((grads[0] - product).abs().max().item<double>(), tolerance) << tokens;
    EXPECT_LT((grads[1] - product * 2).abs().max().item<double>(), 2 * tolerance) << tokens;
  }
}

TEST(LargeZerosTest, AreZeroAtAnySize) {
  for (const int64_t size : {int64_t{0}, int64_t{5}, int64_t{3} << 20}) {
    const at::Tensor zeros = cpu::LargeZeros(size, at::kFloat);
    EXPECT_EQ(zeros.numel(), size);
    EXPECT_FALSE(zeros.any().item<bool>());
  }
}

// In a thread of its own, which starts a pool of its own.
TEST(FlushDenormalsTest, ReachesTheThreadsOfThePool) {
  std::vector<int> flushed(64);
  std::thread([&] {
    at::set_num_threads(3);
    cpu::FlushDenormals();
    cpu::ParallelFor(static_cast<int64_t>(flushed.size()), 1, [&](int64_t begin, int64_t end) {
      volatile float smallest_normal = std::numeric_limits<float>::min();
      for (int64_t i = begin; i < end; ++i) flushed[i] = smallest_normal * 0.5F == 0.0F;
    });
  }).join();
  EXPECT_THAT(flushed, testing::Each(1));
}

// Both ways to multiply bf16 on CPU, of which a machine uses one.
TEST_P(CpuOperationsTest, ProductsOfBf16InFp32) {
  const at::Tensor x = Draw({kRows, 24}).to(at::kBFloat16);
  const at::Tensor d = Draw({kRows, kColumns}).to(at::kBFloat16);
  const Weight weight = {Draw({kColumns, 24}).to(at::kBFloat16), at::zeros({kColumns, 24})};
  const at::Tensor output = cpu::MatMulInFp32(x, weight);
  const at::Tensor d_x = cpu::MatMulBackwardInFp32(d, x, weight);
  EXPECT_EQ(output.scalar_type(), at::kBFloat16);
  EXPECT_EQ(d_x.scalar_type(), at::kBFloat16);
  const auto expect_near = [](const at::Tensor& actual, const at::Tensor& expected) {
    EXPECT_LT((actual.to(at::kFloat) - expected).abs().max().item<double>(),
              8e-3 * expected.abs().max().item<double>());
  };
  expect_near(output, at::mm(x, weight.value.t()).to(at::kFloat));
  expect_near(d_x, at::mm(d, weight.value).to(at::kFloat));
  expect_near(weight.grad, at::mm(d.t(), x).to(at::kFloat));
  cpu::MatMulBackwardInFp32(d, x, weight);
  expect_near(weight.grad, at::mm(d.t(), x).to(at::kFloat) * 2);
}

}  // namespace
}  // namespace bert::model
