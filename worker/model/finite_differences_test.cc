// The backward pass of every operation against finite differences of its forward pass, along drawn directions, in fp32
// on the CPU. (Other devices and dtypes are compared with these operations.)
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "worker/model/operations.h"

namespace bert::model {
namespace {

constexpr int64_t kRows = 24;
constexpr int64_t kColumns = 19;
constexpr double kStep = 4e-3;
// Of the gradient's norm, which is what the slope along a drawn direction is about.
constexpr double kErrorMax = 4e-3;
constexpr int kDirections = 4;

// What a loss is differentiated by, and what the backward pass says of it.
struct Input {
  std::string name;
  at::Tensor value;
  at::Tensor gradient;
};

class FiniteDifferencesTest : public testing::Test {
 protected:
  at::Tensor Draw(std::vector<int64_t> shape, double scale = 1) {
    at::Tensor values = at::empty(shape, at::kFloat);
    return values.normal_(0, scale, generator_);
  }
  Weight DrawWeight(std::vector<int64_t> shape) { return {Draw(shape), at::zeros(shape)}; }
  at::Tensor DrawIds(int64_t limit, int64_t count) { return at::randint(limit, {count}, generator_, at::kLong); }

  // `loss` reads the values, which are changed in place and put back.
  void ExpectSlopes(const std::function<double()>& loss, const std::vector<Input>& inputs) {
    for (const Input& input : inputs) {
      const double norm = at::linalg_vector_norm(input.gradient.to(at::kDouble)).item<double>();
      EXPECT_GT(norm, 0) << input.name;
      const at::Tensor origin = input.value.clone();
      for (int i = 0; i < kDirections; ++i) {
        const at::Tensor direction = Draw(origin.sizes().vec());
        input.value.copy_(origin + direction * kStep);
        const double above = loss();
        input.value.copy_(origin - direction * kStep);
        const double below = loss();
        input.value.copy_(origin);
        const double slope = (input.gradient.to(at::kDouble) * direction).sum().item<double>();
        EXPECT_NEAR((above - below) / (2 * kStep), slope, kErrorMax * norm) << input.name << ", direction " << i;
      }
    }
  }

  // A loss that weighs every element of an output: its gradient there is `weights`.
  static double Weigh(const at::Tensor& output, const at::Tensor& weights) {
    return (output.to(at::kDouble) * weights).sum().item<double>();
  }

  at::Generator generator_ = at::detail::createCPUGenerator(5);
  const Dropout dropout_{.probability = 0.25, .key = DropoutKey(3, 4)};
};

TEST_F(FiniteDifferencesTest, MatMul) {
  const at::Tensor x = Draw({kRows, kColumns});
  const Weight weight = DrawWeight({7, kColumns});
  const at::Tensor d = Draw({kRows, 7});
  const at::Tensor d_x = MatMulBackward(d, x, weight);
  ExpectSlopes([&] { return Weigh(MatMul(x, weight), d); }, {{"x", x, d_x}, {"weight", weight.value, weight.grad}});
}

TEST_F(FiniteDifferencesTest, BiasGelu) {
  for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh}) {
    const at::Tensor x = Draw({kRows, kColumns});
    const Weight bias = DrawWeight({kColumns});
    const at::Tensor d = Draw({kRows, kColumns});
    const at::Tensor d_x = BiasGeluBackward(d.clone(), x, bias, activation);
    ExpectSlopes([&] { return Weigh(BiasGelu(x, bias, activation), d); },
                 {{"x", x, d_x}, {"bias", bias.value, bias.grad}});
  }
}

TEST_F(FiniteDifferencesTest, Dropout) {
  const at::Tensor x = Draw({kRows, kColumns});
  const at::Tensor d = Draw({kRows, kColumns});
  at::Tensor d_x = d.clone();
  ApplyDropout(d_x, dropout_);
  const auto loss = [&] {
    at::Tensor y = x.clone();
    ApplyDropout(y, dropout_);
    return Weigh(y, d);
  };
  ExpectSlopes(loss, {{"x", x, d_x}});
}

TEST_F(FiniteDifferencesTest, AddDropoutNorm) {
  const at::Tensor branch = Draw({kRows, kColumns});
  const at::Tensor residual = Draw({kRows, kColumns});
  const Affine norm = {DrawWeight({kColumns}), DrawWeight({kColumns})};
  const Weight bias = DrawWeight({kColumns});
  const at::Tensor d_output = Draw({kRows, kColumns});
  const at::Tensor d_sum = Draw({kRows, kColumns});
  for (const ::bert::model::Dropout& dropout : {::bert::model::Dropout(), dropout_}) {
    const NormSite site = {.norm = &norm, .eps = 1e-5, .bias = &bias, .dropout = dropout};
    for (const at::Tensor& grad : {norm.weight.grad, norm.bias.grad, bias.grad}) grad.zero_();
    const Normed normed = AddDropoutNorm(branch.clone(), residual, site);
    NormedInflow inflow;
    inflow.d_output = d_output;
    inflow.d_sum = d_sum;
    const NormedGrad grad = AddDropoutNormBackward(inflow, normed, site);
    const auto loss = [&] {
      const Normed again = AddDropoutNorm(branch.clone(), residual, site);
      return Weigh(again.output, d_output) + Weigh(again.sum, d_sum);
    };
    ExpectSlopes(loss, {{"branch", branch, grad.d_branch},
                        {"residual", residual, grad.d_sum},
                        {"LayerNorm's weight", norm.weight.value, norm.weight.grad},
                        {"LayerNorm's bias", norm.bias.value, norm.bias.grad},
                        {"bias", bias.value, bias.grad}});
  }
}

TEST_F(FiniteDifferencesTest, Attention) {
  constexpr int64_t kSeq = 13;
  constexpr int64_t kHeads = 2;
  constexpr int64_t kHeadSize = 6;
  constexpr int64_t kHidden = kHeads * kHeadSize;
  at::Tensor segments = at::zeros({2, kSeq}, at::kInt);  // One; two and padding.
  segments[1].narrow(0, 5, 4).fill_(1);
  segments[1].narrow(0, 9, 4).fill_(-1);
  const AttentionPlan plan = MakeAttentionPlan(segments, kHeads, kHeadSize);
  const at::Tensor tokens = segments.flatten().ge(0).unsqueeze(1);
  const at::Tensor query_key_value = Draw({2 * kSeq, 3 * kHidden});
  const Weight bias = DrawWeight({3 * kHidden});
  const at::Tensor d = Draw({2 * kSeq, kHidden}) * tokens;
  for (const ::bert::model::Dropout& dropout : {::bert::model::Dropout(), dropout_}) {
    bias.grad.zero_();
    const Attended attended = Attention(query_key_value, bias, plan, dropout);
    const at::Tensor gradient = AttentionBackward(d, query_key_value, bias, attended, plan, dropout);
    ExpectSlopes([&] { return Weigh(Attention(query_key_value, bias, plan, dropout).output, d); },
                 {{"query, key and value", query_key_value, gradient}, {"bias", bias.value, bias.grad}});
  }
}

TEST_F(FiniteDifferencesTest, CrossEntropy) {
  const at::Tensor logits = Draw({kRows, kColumns}, 2);
  const Weight bias = DrawWeight({kColumns});
  const at::Tensor labels = DrawIds(kColumns, kRows);
  const at::Tensor gradient = CrossEntropy(logits.clone(), bias, labels, true).d_logits;
  const auto loss = [&] { return CrossEntropy(logits.clone(), bias, labels, false).nll.item<double>(); };
  ExpectSlopes(loss, {{"logits", logits, gradient}, {"bias", bias.value, bias.grad}});
}

TEST_F(FiniteDifferencesTest, Embed) {
  const Embeddings embeddings = {.word = DrawWeight({11, kColumns}),
                                 .position = DrawWeight({9, kColumns}),
                                 .token_type = DrawWeight({2, kColumns})};
  const EmbeddingIds ids = {
      .words = DrawIds(11, kRows), .positions = DrawIds(9, kRows), .token_types = DrawIds(2, kRows)};
  const at::Tensor d = Draw({kRows, kColumns});
  EmbedBackward(d, ids, embeddings);
  ExpectSlopes([&] { return Weigh(Embed(ids, embeddings, at::kFloat), d); },
               {{"words", embeddings.word.value, embeddings.word.grad},
                {"positions", embeddings.position.value, embeddings.position.grad},
                {"token types", embeddings.token_type.value, embeddings.token_type.grad}});
}

}  // namespace
}  // namespace bert::model
