#include "worker/model/cpu/kernel_sets.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace bert::model::cpu {
namespace {

constexpr int64_t kSize = 1001;

std::vector<float> Draw(float scale, size_t size = kSize) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return values;
}

// Round to nearest, ties to even, by arithmetic instead of bits.
uint16_t RoundedBits(float x) {
  uint32_t below = 0;
  std::memcpy(&below, &x, sizeof(below));
  below &= 0xffff0000u;
  const uint32_t above = below + 0x10000u;
  float low = 0;
  float high = 0;
  std::memcpy(&low, &below, sizeof(low));
  std::memcpy(&high, &above, sizeof(high));
  const double to_low = std::abs(static_cast<double>(x) - low);
  const double to_high = std::abs(static_cast<double>(high) - x);
  const bool up = to_high < to_low || (to_high == to_low && (below >> 16 & 1u) != 0);
  return static_cast<uint16_t>((up ? above : below) >> 16);
}

TEST(KernelSetsTest, ThereIsAlwaysOne) { EXPECT_EQ(SupportedKernelSets().front().name, "baseline"); }

TEST(KernelSetsTest, RoundsToBf16LikeTheStandard) {
  std::vector<float> values = Draw(3);
  // Ties, and the values next to them.
  for (const uint32_t bits : {0x3f808000u, 0x3f818000u, 0x3f807fffu, 0x3f808001u, 0xbf808000u, 0u, 0x80000000u}) {
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    values.push_back(value);
  }
  const int64_t size = static_cast<int64_t>(values.size());
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    std::vector<Bf16> rounded(values.size());
    set.kernels->bf16.pack(values.data(), size, 1, size, rounded.data(), size);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(rounded[i].bits, RoundedBits(values[i])) << set.name << " " << values[i];
    }
    std::vector<float> back(values.size());
    set.kernels->bf16.unpack(rounded.data(), size, nullptr, 1, size, back.data(), size);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t bits = static_cast<uint32_t>(rounded[i].bits) << 16;
      EXPECT_EQ(std::memcmp(&back[i], &bits, sizeof(bits)), 0) << set.name << " " << values[i];
    }
  }
}

TEST(KernelSetsTest, KeepsNaNAndInfinity) {
  const std::vector<float> values = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                                     std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    std::vector<Bf16> rounded(4);
    std::vector<float> back(4);
    set.kernels->bf16.pack(values.data(), 4, 1, 4, rounded.data(), 4);
    set.kernels->bf16.unpack(rounded.data(), 4, nullptr, 1, 4, back.data(), 4);
    EXPECT_TRUE(std::isnan(back[0]) && std::isnan(back[1])) << set.name;
    EXPECT_EQ(back[2], values[2]) << set.name;
    EXPECT_EQ(back[3], values[3]) << set.name;
  }
}

TEST(KernelSetsTest, GeluIsAccurate) {
  std::vector<float> values = Draw(3);
  for (const float extreme : {0.0f, -0.0f, 1e-20f, 30.0f, -30.0f, 1e4f, -1e4f, 6.0f, -6.0f}) values.push_back(extreme);
  const int64_t size = static_cast<int64_t>(values.size());
  const std::vector<float> zeros(values.size());
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    for (const bool tanh : {false, true}) {
      std::vector<float> output(values.size());
      std::vector<float> slope(values.size(), 1.0f);
      std::vector<float> d_bias(values.size());
      GeluArgs<float> args = {.begin = 0,
                              .end = 1,
                              .columns = size,
                              .x = values.data(),
                              .bias = zeros.data(),
                              .tanh = tanh,
                              .d_output = slope.data(),
                              .output = output.data(),
                              .d_bias = d_bias.data()};
      set.kernels->fp32.gelu_forward(args);
      args.output = slope.data();
      set.kernels->fp32.gelu_backward(args);
      for (size_t i = 0; i < values.size(); ++i) {
        const double x = values[i];
        const double inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
        const double erf = 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
        const double expected = tanh ? 0.5 * x * (1 + std::tanh(inner)) : x * erf;
        const double th = std::tanh(inner);
        const double expected_slope =
            tanh ? 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x)
                 : erf + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
        EXPECT_NEAR(output[i], expected, 4e-7 * (1 + std::abs(x))) << set.name << " gelu at " << x << " tanh " << tanh;
        EXPECT_NEAR(slope[i], expected_slope, 1e-6) << set.name << " slope at " << x << " tanh " << tanh;
        EXPECT_EQ(d_bias[i], slope[i]);
      }
    }
  }
}

TEST(KernelSetsTest, SoftmaxIsAccurateForLargeScores) {
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    for (const float scale : {1.0f, 40.0f}) {
      const std::vector<float> scores = Draw(scale);
      std::vector<float> probabilities = scores;
      float log_normalizer = 0;
      set.kernels->softmax.forward({.rows = 1,
                                    .columns = kSize,
                                    .stride = kSize,
                                    .scale = 0.5f,
                                    .dropout = {},
                                    .element = 0,
                                    .element_stride = 0,
                                    .scores = probabilities.data(),
                                    .log_normalizer = &log_normalizer,
                                    .d_scores = nullptr,
                                    .inner = nullptr,
                                    .inner_stride = 0});
      double total = 0;
      for (const float score : scores) total += std::exp(0.5 * score);
      EXPECT_NEAR(log_normalizer, std::log(total), 1e-5) << set.name;
      for (size_t i = 0; i < scores.size(); ++i) {
        EXPECT_NEAR(probabilities[i], std::exp(0.5 * scores[i]) / total, 1e-6) << set.name;
      }
    }
  }
}

TEST(KernelSetsTest, AllDropTheSameElements) {
  const Dropout dropout = {.probability = 0.3, .key = DropoutKey(1, 2)};
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    std::vector<float> values(kSize, 1.0f);
    set.kernels->fp32.dropout(values.data(), 0, kSize, dropout);
    for (uint32_t i = 0; i < kSize; ++i) {
      const bool kept = DropoutBits(dropout.key, i) >= dropout.threshold();
      EXPECT_EQ(values[i], kept ? dropout.scale() : 0.0f) << set.name << " element " << i;
    }
  }
}

TEST(KernelSetsTest, SumsColumns) {
  const std::vector<float> values = Draw(1, 3 * kSize);
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    std::vector<float> sums(kSize, 10.0f);
    set.kernels->fp32.column_sums(values.data(), kSize, 3, kSize, sums.data());
    for (size_t i = 0; i < kSize; ++i) {
      EXPECT_NEAR(sums[i], 10 + values[i] + values[i + kSize] + values[i + 2 * kSize], 1e-5) << set.name;
    }
  }
}

// Numbers that tell where they were; rows and columns on both sides of the vectors' sizes.
TEST(KernelSetsTest, LaysOutTiles) {
  for (const NamedKernelSet& set : SupportedKernelSets()) {
    for (const int64_t rows : {1, 2, 31, 32, 45}) {
      for (const int64_t columns : {1, 15, 16, 40}) {
        const int64_t stride = columns + 3;
        std::vector<Bf16> x(static_cast<size_t>(rows * stride));
        for (size_t i = 0; i < x.size(); ++i) x[i].bits = static_cast<uint16_t>(i + 1);
        const auto at = [&](int64_t row, int64_t column) -> uint32_t {
          return row < rows ? x[static_cast<size_t>(row * stride + column)].bits : 0u;
        };
        const int64_t rows_to = (rows + 31) / 32 * 32;
        std::vector<uint32_t> pairs(static_cast<size_t>(rows_to / 2 * columns), 77);
        set.tiles->interleave({x.data(), stride, rows, columns}, rows_to, pairs.data(), columns);
        std::vector<Bf16> transposed(static_cast<size_t>(columns * (rows_to + 1)), Bf16{77});
        set.tiles->transpose({x.data(), stride, rows, columns}, rows_to, transposed.data(), rows_to + 1);
        for (int64_t c = 0; c < columns; ++c) {
          for (int64_t r = 0; r < rows_to; ++r) {
            ASSERT_EQ(pairs[static_cast<size_t>(r / 2 * columns + c)] >> (r % 2 * 16) & 0xffffu, at(r, c))
                << set.name << " " << rows << "x" << columns << " at " << r << ", " << c;
            ASSERT_EQ(transposed[static_cast<size_t>(c * (rows_to + 1) + r)].bits, at(r, c))
                << set.name << " " << rows << "x" << columns << " at " << r << ", " << c;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace bert::model::cpu
