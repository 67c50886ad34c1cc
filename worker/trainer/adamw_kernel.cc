#include "worker/trainer/adamw_kernel.h"

#include <bit>
#include <cmath>

// One binary for every x86-64, as fast as each allows. The clones give the same bits: nothing is contracted or
// reordered.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BERT_TARGET_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define BERT_TARGET_CLONES
#endif

namespace bert::trainer {
namespace {

inline uint16_t RoundToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float UpdateOne(const AdamWFactors& f, float raw_grad, float master, float& exp_avg, float& exp_avg_sq) {
  const float grad = raw_grad * f.gradient_scale;
  exp_avg += (grad - exp_avg) * f.one_minus_beta1;
  exp_avg_sq = exp_avg_sq * f.beta2 + grad * grad * f.one_minus_beta2;
  const float denominator = std::sqrt(exp_avg_sq) * f.inverse_root_bias2 + f.epsilon;
  return master * f.keep - f.step_size * (exp_avg / denominator);
}

BERT_TARGET_CLONES void UpdateFp32(const AdamWFactors& factors, int64_t count, const float* __restrict grad,
                                   float* __restrict master, float* __restrict exp_avg, float* __restrict exp_avg_sq) {
  const AdamWFactors f = factors;
  for (int64_t i = 0; i < count; ++i) master[i] = UpdateOne(f, grad[i], master[i], exp_avg[i], exp_avg_sq[i]);
}

BERT_TARGET_CLONES void UpdateBf16(const AdamWFactors& factors, int64_t count, const float* __restrict grad,
                                   float* __restrict master, float* __restrict exp_avg, float* __restrict exp_avg_sq,
                                   uint16_t* __restrict compute) {
  const AdamWFactors f = factors;
  for (int64_t i = 0; i < count; ++i) {
    const float updated = UpdateOne(f, grad[i], master[i], exp_avg[i], exp_avg_sq[i]);
    master[i] = updated;
    compute[i] = RoundToBf16(updated);
  }
}

// Sixteen sums side by side, since one alone would have to be added up in order.
BERT_TARGET_CLONES double Squares(int64_t count, const float* values) {
  constexpr int kSums = 16;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int j = 0; j < kSums; ++j) sums[j] += static_cast<double>(values[i + j]) * values[i + j];
  }
  double total = 0;
  for (; i < count; ++i) total += static_cast<double>(values[i]) * values[i];
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

void AdamWUpdate(const AdamWFactors& factors, int64_t count, const float* grad, float* master, float* exp_avg,
                 float* exp_avg_sq, uint16_t* compute_bf16) {
  if (compute_bf16 == nullptr) {
    UpdateFp32(factors, count, grad, master, exp_avg, exp_avg_sq);
  } else {
    UpdateBf16(factors, count, grad, master, exp_avg, exp_avg_sq, compute_bf16);
  }
}

double SumOfSquares(int64_t count, const float* values) { return Squares(count, values); }

}  // namespace bert::trainer
