// LayerNorm over a residual sum with dropout. A warp holds a row in registers, so memory is read and written once.
#ifndef BERT_WORKER_MODEL_CUDA_NORM_KERNELS_H_
#define BERT_WORKER_MODEL_CUDA_NORM_KERNELS_H_

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

// kVectors vectors a lane hold a row: columns <= kVectors * kWarpColumns.
template <typename T, int kVectors>
struct NormForwardKernel {
  NormForwardArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t row = thread.block() * WarpsOf(thread) + WarpOf(thread);
    if (row >= a.rows) return;
    const int lane = LaneOf(thread);
    const int64_t start = row * a.columns;
    const uint64_t key = KeyOf(a.dropout);
    Vector x[kVectors];
    float total = 0;
    for (int v = 0; v < kVectors; ++v) {
      const int c = (v * kWarp + lane) * kVector;
      if (c >= a.columns) continue;
      x[v] = SumOf(start, c, key);
      Store(x[v], a.sum + start + c);
      // The statistics are those of the rounded sum, which is what the backward pass sees.
      for (float& value : x[v].v) {
        value = Rounded<T>(value);
        total += value;
      }
    }
    const float mean = WarpSum(thread, total) / static_cast<float>(a.columns);
    float squares = 0;
    for (int v = 0; v < kVectors; ++v) {
      if ((v * kWarp + lane) * kVector >= a.columns) continue;
      for (const float value : x[v].v) squares += (value - mean) * (value - mean);
    }
    const float rstd = 1.0f / sqrtf(WarpSum(thread, squares) / static_cast<float>(a.columns) + a.eps);
    for (int v = 0; v < kVectors; ++v) {
      const int c = (v * kWarp + lane) * kVector;
      if (c >= a.columns) continue;
      const Vector weight = Load(a.weight + c);
      const Vector bias = Load(a.norm_bias + c);
      Vector output;
      for (int i = 0; i < kVector; ++i) output.v[i] = (x[v].v[i] - mean) * rstd * weight.v[i] + bias.v[i];
      Store(output, a.output + start + c);
    }
    if (lane == 0) {
      a.mean[row] = mean;
      a.rstd[row] = rstd;
    }
  }

 private:
  BERT_KERNEL Vector SumOf(int64_t start, int c, uint64_t key) const {
    Vector x = Load(a.sum + start + c);
    if (a.bias != nullptr) {
      const Vector bias = Load(a.bias + c);
      for (int i = 0; i < kVector; ++i) x.v[i] += bias.v[i];
    }
    if (a.dropout.active) {
      const uint32_t element = static_cast<uint32_t>(start + c);
      for (int i = 0; i < kVector; ++i) x.v[i] = KeptOf(a.dropout, key, x.v[i], element + static_cast<uint32_t>(i));
    }
    if (a.residual != nullptr) {
      const Vector residual = Load(a.residual + start + c);
      for (int i = 0; i < kVector; ++i) x.v[i] += residual.v[i];
    }
    return x;
  }
};

// Each warp takes every so-manieth row of its block's and keeps the three sums of its columns in registers. At the end
// the block's warps add them up in shared memory: [warps, columns] floats.
template <typename T, int kVectors>
struct NormBackwardKernel {
  NormBackwardArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int lane = LaneOf(thread);
    const uint64_t key = KeyOf(a.dropout);
    const int64_t first = thread.block() * a.rows_per_block;
    const int64_t last = first + a.rows_per_block < a.rows ? first + a.rows_per_block : a.rows;
    Sums sums;
    for (int v = 0; v < kVectors; ++v) sums.weight[v] = sums.norm_bias[v] = sums.bias[v] = Vector{};
    for (int64_t row = first + WarpOf(thread); row < last; row += WarpsOf(thread)) Row(thread, row, lane, key, sums);

    float* partial = a.partial + thread.block() * 3 * a.columns;
    WriteSum(thread, sums.weight, lane, partial);
    WriteSum(thread, sums.norm_bias, lane, partial + a.columns);
    WriteSum(thread, sums.bias, lane, partial + 2 * a.columns);
  }

 private:
  struct Sums {
    Vector weight[kVectors];
    Vector norm_bias[kVectors];
    Vector bias[kVectors];
  };

  template <typename Thread>
  BERT_KERNEL void Row(Thread& thread, int64_t row, int lane, uint64_t key, Sums& sums) const {
    const int64_t start = row * a.columns;
    const float mean = a.mean[row];
    const float rstd = a.rstd[row];
    Vector normalized[kVectors];
    Vector weighted[kVectors];
    float total = 0;
    float correlation = 0;
    for (int v = 0; v < kVectors; ++v) {
      const int c = (v * kWarp + lane) * kVector;
      if (c >= a.columns) continue;
      Vector d = Load(a.d_output + start + c);
      if (a.d_output_too != nullptr) {
        const Vector more = Load(a.d_output_too + start + c);
        for (int i = 0; i < kVector; ++i) d.v[i] += more.v[i];
      }
      const Vector sum = Load(a.sum + start + c);
      const Vector weight = Load(a.weight + c);
      for (int i = 0; i < kVector; ++i) {
        const float x = (sum.v[i] - mean) * rstd;
        normalized[v].v[i] = x;
        weighted[v].v[i] = d.v[i] * weight.v[i];
        sums.weight[v].v[i] += d.v[i] * x;
        sums.norm_bias[v].v[i] += d.v[i];
        total += weighted[v].v[i];
        correlation += weighted[v].v[i] * x;
      }
    }
    total = WarpSum(thread, total) / static_cast<float>(a.columns);
    correlation = WarpSum(thread, correlation) / static_cast<float>(a.columns);
    for (int v = 0; v < kVectors; ++v) {
      const int c = (v * kWarp + lane) * kVector;
      if (c >= a.columns) continue;
      Vector d;
      for (int i = 0; i < kVector; ++i) {
        d.v[i] = rstd * (weighted[v].v[i] - total - normalized[v].v[i] * correlation);
      }
      if (a.d_direct != nullptr) {
        const Vector direct = Load(a.d_direct + start + c);
        for (int i = 0; i < kVector; ++i) d.v[i] += direct.v[i];
      }
      Store(d, a.d_sum + start + c);
      if (a.d_branch != nullptr) {
        const uint32_t element = static_cast<uint32_t>(start + c);
        for (int i = 0; i < kVector; ++i) d.v[i] = KeptOf(a.dropout, key, d.v[i], element + static_cast<uint32_t>(i));
        Store(d, a.d_branch + start + c);
      }
      for (int i = 0; i < kVector; ++i) sums.bias[v].v[i] += d.v[i];
    }
  }

  template <typename Thread>
  BERT_KERNEL void WriteSum(Thread& thread, const Vector* sum, int lane, float* to) const {
    float* shared = static_cast<float*>(thread.shared());
    thread.Sync();  // What the last sum left has been read.
    for (int v = 0; v < kVectors; ++v) {
      const int c = (v * kWarp + lane) * kVector;
      if (c < a.columns) Store(sum[v], shared + WarpOf(thread) * a.columns + c);
    }
    thread.Sync();
    for (int c = thread.index(); c < a.columns; c += thread.threads()) {
      float total = 0;
      for (int warp = 0; warp < WarpsOf(thread); ++warp) total += shared[warp * a.columns + c];
      to[c] = total;
    }
  }
};

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_NORM_KERNELS_H_
