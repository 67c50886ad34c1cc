#include "worker/trainer/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "worker/model/cuda/emulation.h"

namespace bert::trainer {
namespace {

constexpr AdamWOptions kOptions = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-6, .weight_decay = 0.1};

// Three tensors, the middle one without decay, longer together than what a thread takes at once.
std::vector<model::ParameterInfo> Infos() {
  return {{.name = "a", .shape = {300, 300}, .offset = 0, .size = 90000, .decay = true},
          {.name = "b", .shape = {333}, .offset = 90000, .size = 333, .decay = false},
          {.name = "c", .shape = {1000}, .offset = 90333, .size = 1000, .decay = true}};
}

// torch.optim.AdamW's update, one parameter at a time, in fp64.
struct Reference {
  std::vector<double> parameter, exp_avg, exp_avg_sq;

  void Step(int64_t step, double learning_rate, const std::vector<double>& grad) {
    for (size_t i = 0; i < parameter.size(); ++i) {
      const bool decay = i < 90000 || i >= 90333;
      if (decay) parameter[i] -= learning_rate * kOptions.weight_decay * parameter[i];
      exp_avg[i] = kOptions.beta1 * exp_avg[i] + (1 - kOptions.beta1) * grad[i];
      exp_avg_sq[i] = kOptions.beta2 * exp_avg_sq[i] + (1 - kOptions.beta2) * grad[i] * grad[i];
      const double corrected = exp_avg[i] / (1 - std::pow(kOptions.beta1, step));
      const double root = std::sqrt(exp_avg_sq[i] / (1 - std::pow(kOptions.beta2, step)));
      parameter[i] -= learning_rate * corrected / (root + kOptions.epsilon);
    }
  }
};

void Fill(at::Tensor& tensor, std::mt19937_64& random, double scale) {
  std::normal_distribution<double> normal(0, scale);
  float* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = static_cast<float>(normal(random));
}

std::vector<double> Values(const at::Tensor& tensor, double scale = 1) {
  const float* values = tensor.const_data_ptr<float>();
  std::vector<double> out(values, values + tensor.numel());
  for (double& value : out) value *= scale;
  return out;
}

void ExpectMatchesReference(model::Precision precision, void (AdamW::*step_function)(const AdamWStep&)) {
  constexpr double kScale = 0.25;
  constexpr double kLearningRate = 1e-3;
  std::mt19937_64 random(7);
  model::Parameters parameters(Infos(), precision, at::kCPU);
  Fill(parameters.master(), random, 1.0);
  AdamW optimizer(&parameters, kOptions);
  Reference reference = {.parameter = Values(parameters.master()),
                         .exp_avg = std::vector<double>(parameters.size()),
                         .exp_avg_sq = std::vector<double>(parameters.size())};
  for (int64_t step = 1; step <= 10; ++step) {
    Fill(parameters.grad(), random, 2.0);
    reference.Step(step, kLearningRate, Values(parameters.grad(), kScale));
    (optimizer.*step_function)({.step = step, .learning_rate = kLearningRate, .gradient_scale = kScale});
  }
  const std::vector<double> updated = Values(parameters.master());
  const std::vector<double> exp_avg_sq = Values(optimizer.exp_avg_sq());
  for (int64_t i = 0; i < parameters.size(); ++i) {
    ASSERT_NEAR(updated[i], reference.parameter[i], 5e-6 * (1 + std::fabs(reference.parameter[i]))) << i;
    ASSERT_NEAR(exp_avg_sq[i], reference.exp_avg_sq[i], 1e-5 * reference.exp_avg_sq[i] + 1e-12) << i;
  }
  // The compute copy follows, rounded as Torch rounds.
  EXPECT_TRUE(parameters.compute().equal(parameters.master().to(parameters.compute().scalar_type())));
}

TEST(AdamWTest, MatchesTheReferenceInFp32) { ExpectMatchesReference(model::Precision::kFp32, &AdamW::Step); }

TEST(AdamWTest, WritesTheBf16Copy) { ExpectMatchesReference(model::Precision::kBf16, &AdamW::Step); }

TEST(AdamWTest, TheFormForOtherDevicesMatchesToo) {
  ExpectMatchesReference(model::Precision::kBf16, &AdamW::StepByOperations);
}

TEST(AdamWTest, TheKernelForCudaMatchesToo) {
  const model::cuda::Emulation emulation;
  ExpectMatchesReference(model::Precision::kFp32, &AdamW::Step);
  ExpectMatchesReference(model::Precision::kBf16, &AdamW::Step);
}

TEST(AdamWTest, TheNumberOfThreadsChangesNothing) {
  std::vector<at::Tensor> results;
  std::vector<double> norms;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    std::mt19937_64 random(3);
    model::Parameters parameters(Infos(), model::Precision::kFp32, at::kCPU);
    Fill(parameters.master(), random, 1.0);
    Fill(parameters.grad(), random, 1.0);
    AdamW(&parameters, kOptions).Step({.step = 1, .learning_rate = 0.1, .gradient_scale = 1});
    results.push_back(parameters.master());
    norms.push_back(GradientNorm(parameters.grad()));
  }
  EXPECT_TRUE(results[0].equal(results[1]));
  EXPECT_EQ(norms[0], norms[1]);
}

TEST(GradientNormTest, IsTheL2Norm) {
  std::mt19937_64 random(5);
  at::Tensor grad = at::empty({200'003}, at::kFloat);
  Fill(grad, random, 1.0);
  double sum = 0;
  for (const double value : Values(grad)) sum += value * value;
  EXPECT_NEAR(GradientNorm(grad), std::sqrt(sum), 1e-9 * std::sqrt(sum));
  {
    const model::cuda::Emulation emulation;
    EXPECT_NEAR(GradientNorm(grad), std::sqrt(sum), 1e-9 * std::sqrt(sum));
  }
  grad.mutable_data_ptr<float>()[123'456] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(GradientNorm(grad)));
}

}  // namespace
}  // namespace bert::trainer
