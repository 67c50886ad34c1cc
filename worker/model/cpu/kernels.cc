// Compiled once per instruction set, with BERT_KERNEL_SET naming the result (see CMakeLists.txt). Everything here is in
// an unnamed namespace or always inlined: a function that the linker could merge with one of another set would run
// instructions that the machine may lack. For the same reason no standard library templates.
#include "worker/model/cpu/kernels.h"

#include <math.h>

namespace bert::model::cpu {
namespace {

inline float Load(float x) { return x; }
inline float Load(Bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
// Round to nearest, ties to even.
inline uint32_t RoundedBits(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
inline void Store(float* to, float x) { *to = x; }
inline void Store(Bf16* to, float x) { to->bits = static_cast<uint16_t>(RoundedBits(x)); }
// What Load gives after Store, without the way through memory, which would keep a loop from being vectorised.
inline float Rounded(float x, const float*) { return x; }
inline float Rounded(float x, const Bf16*) { return __builtin_bit_cast(float, RoundedBits(x) << 16); }

// e^x to 2 ulp, in a form that vectorises. Below -87 it gives about 1e-38 instead of less.
inline float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  // Rounds to the nearest whole number: the bits below one fall off the sum.
  constexpr float kMagic = 12582912.0f;
  const float n = (x * 1.44269504f + kMagic) - kMagic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * __builtin_bit_cast(float, static_cast<uint32_t>((static_cast<int32_t>(n) + 127)) << 23);
}

inline float Kept(float x, const Dropout& dropout, float scale, uint32_t threshold, uint32_t element) {
  return DropoutBits(dropout.key, element) >= threshold ? x * scale : 0.0f;
}

template <bool kDropout, bool kBias, bool kResidual, typename T>
inline float SumRow(const NormForwardArgs<T>& a, int64_t row) {
  const int64_t columns = a.columns;
  const uint32_t first = static_cast<uint32_t>(row * columns);
  const float scale = a.dropout.scale();
  const uint32_t threshold = a.dropout.threshold();
  const Dropout dropout = a.dropout;
  T* sum = a.sum + row * columns;
  const T* bias = a.bias;
  const T* residual = kResidual ? a.residual + row * columns : nullptr;
  float* scratch = a.scratch;
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) {
    float x = Load(sum[c]);
    if constexpr (kBias) x += Load(bias[c]);
    if constexpr (kDropout) x = Kept(x, dropout, scale, threshold, first + static_cast<uint32_t>(c));
    if constexpr (kResidual) x += Load(residual[c]);
    // The statistics are those of the rounded sum, which is what the backward pass sees.
    const float value = Rounded(x, sum);
    Store(&sum[c], value);
    scratch[c] = value;
  }
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t c = 0; c < columns; ++c) total += scratch[c];
  return total;
}

template <typename T>
inline float SumRowOf(const NormForwardArgs<T>& a, int64_t row) {
  const bool bias = a.bias != nullptr;
  const bool residual = a.residual != nullptr;
  if (a.dropout.active()) {
    if (bias) return residual ? SumRow<true, true, true>(a, row) : SumRow<true, true, false>(a, row);
    return residual ? SumRow<true, false, true>(a, row) : SumRow<true, false, false>(a, row);
  }
  if (bias) return residual ? SumRow<false, true, true>(a, row) : SumRow<false, true, false>(a, row);
  return residual ? SumRow<false, false, true>(a, row) : SumRow<false, false, false>(a, row);
}

template <typename T>
void NormForward(const NormForwardArgs<T>& a) {
  const int64_t columns = a.columns;
  const float* scratch = a.scratch;
  const float* weight = a.weight;
  const float* bias = a.norm_bias;
  for (int64_t row = a.begin; row < a.end; ++row) {
    const float mean = SumRowOf(a, row) / static_cast<float>(columns);
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < columns; ++c) squares += (scratch[c] - mean) * (scratch[c] - mean);
    const float rstd = 1.0f / sqrtf(squares / static_cast<float>(columns) + a.eps);
    T* output = a.output + row * columns;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) Store(&output[c], (scratch[c] - mean) * rstd * weight[c] + bias[c]);
    a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
}

template <typename T>
void NormBackward(const NormBackwardArgs<T>& a) {
  const int64_t columns = a.columns;
  const float* weight = a.weight;
  float* d_weight = a.d_weight;
  float* d_norm_bias = a.d_norm_bias;
  float* normalized = a.scratch;
  float* weighted = a.scratch + columns;
  const float dropout_scale = a.dropout.scale();
  const uint32_t threshold = a.dropout.threshold();
  const Dropout dropout = a.dropout;
  for (int64_t row = a.begin; row < a.end; ++row) {
    const T* d_output = a.d_output + row * columns;
    const T* d_output_too = a.d_output_too == nullptr ? nullptr : a.d_output_too + row * columns;
    const T* sum = a.sum + row * columns;
    const float mean = a.mean[row];
    const float rstd = a.rstd[row];
    float total = 0;
    float correlation = 0;
    const auto accumulate = [&](int64_t c, float d) __attribute__((always_inline)) {
      const float x = (Load(sum[c]) - mean) * rstd;
      normalized[c] = x;
      weighted[c] = d * weight[c];
      d_weight[c] += d * x;
      d_norm_bias[c] += d;
    };
    if (d_output_too != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) accumulate(c, Load(d_output[c]) + Load(d_output_too[c]));
    } else {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) accumulate(c, Load(d_output[c]));
    }
#pragma omp simd reduction(+ : total, correlation)
    for (int64_t c = 0; c < columns; ++c) {
      total += weighted[c];
      correlation += weighted[c] * normalized[c];
    }
    total /= static_cast<float>(columns);
    correlation /= static_cast<float>(columns);
    T* d_sum = a.d_sum + row * columns;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) weighted[c] = rstd * (weighted[c] - total - normalized[c] * correlation);
    if (a.d_direct != nullptr) {
      const T* d_direct = a.d_direct + row * columns;
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) weighted[c] += Load(d_direct[c]);
    }
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) Store(&d_sum[c], weighted[c]);
    if (a.d_branch != nullptr) {
      T* d_branch = a.d_branch + row * columns;
      const uint32_t first = static_cast<uint32_t>(row * columns);
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) {
        weighted[c] = Kept(weighted[c], dropout, dropout_scale, threshold, first + static_cast<uint32_t>(c));
        Store(&d_branch[c], weighted[c]);
      }
    }
    if (float* d_bias = a.d_bias; d_bias != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) d_bias[c] += weighted[c];
    }
  }
}

// The normal distribution's density times sqrt(2 pi), and its cumulative function by Abramowitz and Stegun 7.1.26
// (absolute error below 1e-7).
struct Normal {
  float density;
  float cumulative;
};
inline Normal NormalAt(float x) {
  const float density = Exp(-0.5f * x * x);
  const float magnitude = x < 0 ? -x : x;
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * magnitude);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const float tail = 0.5f * p * t * density;
  return {density, x < 0 ? tail : 1.0f - tail};
}

inline float GeluErf(float x) { return x * NormalAt(x).cumulative; }
inline float GeluErfSlope(float x) {
  const Normal normal = NormalAt(x);
  return normal.cumulative + x * normal.density * 0.39894228f;
}

// e^(-2y) with y = sqrt(2 / pi) (x + 0.044715 x^3): then (1 + tanh(y)) / 2 = 1 / (1 + e^(-2y)).
inline float TanhTail(float x) { return Exp(-1.59576912f * (x + 0.044715f * x * x * x)); }
inline float GeluTanh(float x) { return x / (1.0f + TanhTail(x)); }
inline float GeluTanhSlope(float x) {
  const float tail = TanhTail(x);
  const float gate = 1.0f / (1.0f + tail);
  return gate + x * gate * (tail * gate) * 1.59576912f * (1.0f + 0.134145f * x * x);
}

template <bool kTanh, typename T>
inline void GeluForwardRows(const GeluArgs<T>& a) {
  const int64_t columns = a.columns;
  const T* bias = a.bias;
  for (int64_t row = a.begin; row < a.end; ++row) {
    const T* in = a.x + row * columns;
    T* output = a.output + row * columns;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const float x = Load(in[c]) + Load(bias[c]);
      Store(&output[c], kTanh ? GeluTanh(x) : GeluErf(x));
    }
  }
}

template <typename T>
void GeluForward(const GeluArgs<T>& a) {
  a.tanh ? GeluForwardRows<true>(a) : GeluForwardRows<false>(a);
}

template <bool kTanh, typename T>
inline void GeluBackwardRows(const GeluArgs<T>& a) {
  const int64_t columns = a.columns;
  const T* bias = a.bias;
  float* d_bias = a.d_bias;
  for (int64_t row = a.begin; row < a.end; ++row) {
    const T* in = a.x + row * columns;
    const T* d_output = a.d_output + row * columns;
    T* output = a.output + row * columns;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const float x = Load(in[c]) + Load(bias[c]);
      const float d = Load(d_output[c]) * (kTanh ? GeluTanhSlope(x) : GeluErfSlope(x));
      Store(&output[c], d);
      d_bias[c] += d;
    }
  }
}

template <typename T>
void GeluBackward(const GeluArgs<T>& a) {
  a.tanh ? GeluBackwardRows<true>(a) : GeluBackwardRows<false>(a);
}

inline float RowMax(const float* x, int64_t columns) {
  float max = x[0];
#pragma omp simd reduction(max : max)
  for (int64_t c = 0; c < columns; ++c) max = x[c] > max ? x[c] : max;
  return max;
}

void SoftmaxForward(const SoftmaxArgs& a) {
  const int64_t columns = a.columns;
  const float scale = a.scale;
  const Dropout dropout = a.dropout;
  const uint32_t threshold = dropout.threshold();
  for (int64_t row = 0; row < a.rows; ++row) {
    float* scores = a.scores + row * a.stride;
    const float max = RowMax(scores, columns);
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < columns; ++c) {
      scores[c] = Exp((scores[c] - max) * scale);
      total += scores[c];
    }
    a.log_normalizer[row] = max * scale + logf(total);
    const float factor = dropout.scale() / total;
    if (!dropout.active()) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) scores[c] *= factor;
      continue;
    }
    const uint32_t first = a.element + static_cast<uint32_t>(row) * a.element_stride;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      scores[c] = Kept(scores[c], dropout, factor, threshold, first + static_cast<uint32_t>(c));
    }
  }
}

void SoftmaxBackward(const SoftmaxArgs& a) {
  const int64_t columns = a.columns;
  const float scale = a.scale;
  const Dropout dropout = a.dropout;
  const uint32_t threshold = dropout.threshold();
  const float dropout_scale = dropout.scale();
  for (int64_t row = 0; row < a.rows; ++row) {
    float* scores = a.scores + row * a.stride;
    float* d_scores = a.d_scores + row * a.stride;
    const float log_normalizer = a.log_normalizer[row];
    const float inner = a.inner[row * a.inner_stride];
    if (!dropout.active()) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) {
        const float p = Exp(scores[c] * scale - log_normalizer);
        scores[c] = p;
        d_scores[c] = p * (d_scores[c] - inner) * scale;
      }
      continue;
    }
    const uint32_t first = a.element + static_cast<uint32_t>(row) * a.element_stride;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const float p = Exp(scores[c] * scale - log_normalizer);
      const float kept = DropoutBits(dropout.key, first + static_cast<uint32_t>(c)) >= threshold ? dropout_scale : 0.0f;
      scores[c] = p * kept;
      d_scores[c] = p * (d_scores[c] * kept - inner) * scale;
    }
  }
}

void InnerProducts(const float* a, const float* b, int64_t rows, int64_t columns, float* inner) {
  for (int64_t row = 0; row < rows; ++row) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < columns; ++c) total += a[row * columns + c] * b[row * columns + c];
    inner[row] = total;
  }
}

template <typename T>
void CrossEntropy(const CrossEntropyArgs<T>& a) {
  const int64_t columns = a.columns;
  const T* bias = a.bias;
  float* scratch = a.scratch;
  float* d_bias = a.d_bias;
  for (int64_t row = a.begin; row < a.end; ++row) {
    T* logits = a.logits + row * columns;
    if (a.labels[row] < 0) {
      a.nll[row] = 0;
      for (int64_t c = 0; d_bias != nullptr && c < columns; ++c) Store(&logits[c], 0.0f);
      continue;
    }
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) scratch[c] = Load(logits[c]) + Load(bias[c]);
    const float label_logit = scratch[a.labels[row]];
    const float max = RowMax(scratch, columns);
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < columns; ++c) {
      scratch[c] = Exp(scratch[c] - max);
      total += scratch[c];
    }
    a.nll[row] = logf(total) + max - label_logit;
    if (d_bias == nullptr) continue;
    const float factor = 1.0f / total;
    scratch[a.labels[row]] -= total;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const float d = scratch[c] * factor;
      Store(&logits[c], d);
      d_bias[c] += d;
    }
  }
}

template <typename T>
void DropoutRange(T* x, int64_t begin, int64_t end, const Dropout& dropout_in) {
  const Dropout dropout = dropout_in;
  const float scale = dropout.scale();
  const uint32_t threshold = dropout.threshold();
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    Store(&x[i], Kept(Load(x[i]), dropout, scale, threshold, static_cast<uint32_t>(i)));
  }
}

template <typename T>
void Unpack(const T* from, int64_t from_stride, const T* bias, int64_t rows, int64_t columns, float* to,
            int64_t to_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* in = from + row * from_stride;
    float* out = to + row * to_stride;
    if (bias == nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) out[c] = Load(in[c]);
    } else {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) out[c] = Load(in[c]) + Load(bias[c]);
    }
  }
}

template <typename T>
void Pack(const float* from, int64_t from_stride, int64_t rows, int64_t columns, T* to, int64_t to_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = from + row * from_stride;
    T* out = to + row * to_stride;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) Store(&out[c], in[c]);
  }
}

template <typename T>
void ColumnSums(const T* x, int64_t stride, int64_t rows, int64_t columns, float* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* in = x + row * stride;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) sums[c] += Load(in[c]);
  }
}

template <typename T>
void Accumulate(const T* from, int64_t size, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) to[i] += Load(from[i]);
}

template <typename T>
constexpr Kernels<T> kKernels = {.norm_forward = NormForward<T>,
                                 .norm_backward = NormBackward<T>,
                                 .gelu_forward = GeluForward<T>,
                                 .gelu_backward = GeluBackward<T>,
                                 .cross_entropy = CrossEntropy<T>,
                                 .dropout = DropoutRange<T>,
                                 .unpack = Unpack<T>,
                                 .pack = Pack<T>,
                                 .column_sums = ColumnSums<T>,
                                 .accumulate = Accumulate<T>};

}  // namespace

extern const KernelSet BERT_KERNEL_SET;
const KernelSet BERT_KERNEL_SET = {
    .fp32 = kKernels<float>,
    .bf16 = kKernels<Bf16>,
    .softmax = {.forward = SoftmaxForward, .backward = SoftmaxBackward, .inner_products = InnerProducts}};

}  // namespace bert::model::cpu
