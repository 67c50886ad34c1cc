// Element-wise kernels and sums over columns. A warp covers 128 columns and the warps of a block share its rows; what
// blocks have summed is folded by a second kernel, so that the order is fixed by the shape alone.
#ifndef BERT_WORKER_MODEL_CUDA_COLUMN_KERNELS_H_
#define BERT_WORKER_MODEL_CUDA_COLUMN_KERNELS_H_

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

BERT_KERNEL float GeluErf(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
BERT_KERNEL float GeluErfSlope(float x) {
  return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * expf(-0.5f * x * x) * 0.39894228f;
}
// e^(-2y) with y = sqrt(2 / pi) (x + 0.044715 x^3): then (1 + tanh(y)) / 2 = 1 / (1 + e^(-2y)). The exponent is bounded
// so that no infinity is multiplied by zero.
BERT_KERNEL float TanhTail(float x) {
  const float y = -1.59576912f * (x + 0.044715f * x * x * x);
  return expf(y > 80.0f ? 80.0f : y);
}
BERT_KERNEL float GeluTanh(float x) { return x / (1.0f + TanhTail(x)); }
BERT_KERNEL float GeluTanhSlope(float x) {
  const float tail = TanhTail(x);
  const float gate = 1.0f / (1.0f + tail);
  return gate + x * gate * (tail * gate) * 1.59576912f * (1.0f + 0.134145f * x * x);
}

// Four elements a thread.
template <typename T>
struct GeluForwardKernel {
  GeluArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t i = (thread.block() * thread.threads() + thread.index()) * kVector;
    if (i >= a.rows * a.columns) return;
    Vector x = Load(a.x + i);
    const Vector bias = Load(a.bias + i % a.columns);
    for (int j = 0; j < kVector; ++j) {
      const float sum = x.v[j] + bias.v[j];
      x.v[j] = a.tanh ? GeluTanh(sum) : GeluErf(sum);
    }
    Store(x, a.output + i);
  }
};

template <typename T>
struct DropoutKernel {
  DropoutArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t i = (thread.block() * thread.threads() + thread.index()) * kVector;
    if (i >= a.count) return;
    const uint64_t key = KeyOf(a.dropout);
    Vector x = Load(a.x + i);
    for (int j = 0; j < kVector; ++j) x.v[j] = KeptOf(a.dropout, key, x.v[j], static_cast<uint32_t>(i + j));
    Store(x, a.x + i);
  }
};

// A block's share of a matrix: 128 columns and rows_per_block rows.
struct Tile {
  int column = 0;  // Of this lane's first element.
  int64_t row_block = 0;
  int64_t first = 0;
  int64_t last = 0;
};
template <typename Thread>
BERT_KERNEL Tile TileOf(const Thread& thread, int columns, int64_t rows, int64_t rows_per_block) {
  const int64_t tiles = (columns + kWarpColumns - 1) / kWarpColumns;
  Tile tile;
  tile.column = static_cast<int>(thread.block() % tiles) * kWarpColumns + LaneOf(thread) * kVector;
  tile.row_block = thread.block() / tiles;
  tile.first = tile.row_block * rows_per_block;
  tile.last = tile.first + rows_per_block < rows ? tile.first + rows_per_block : rows;
  return tile;
}

// Adds the warps' sums of a tile and writes them. Shared memory: [warps, 128] floats.
template <typename Thread>
BERT_KERNEL void WriteTileSum(Thread& thread, const Vector& sum, int column, int columns, float* to) {
  float* shared = static_cast<float*>(thread.shared());
  Store(sum, shared + WarpOf(thread) * kWarpColumns + LaneOf(thread) * kVector);
  thread.Sync();
  if (WarpOf(thread) != 0 || column >= columns) return;
  Vector total{};
  for (int warp = 0; warp < WarpsOf(thread); ++warp) {
    const Vector part = Load(shared + warp * kWarpColumns + LaneOf(thread) * kVector);
    for (int i = 0; i < kVector; ++i) total.v[i] += part.v[i];
  }
  Store(total, to + column);
}

template <typename T>
struct GeluBackwardKernel {
  GeluArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const Tile tile = TileOf(thread, a.columns, a.rows, a.rows_per_block);
    Vector sum{};
    if (tile.column < a.columns) {
      const Vector bias = Load(a.bias + tile.column);
      for (int64_t row = tile.first + WarpOf(thread); row < tile.last; row += WarpsOf(thread)) {
        const int64_t i = row * a.columns + tile.column;
        const Vector x = Load(a.x + i);
        Vector d = Load(a.d_output + i);
        for (int j = 0; j < kVector; ++j) {
          const float in = x.v[j] + bias.v[j];
          d.v[j] *= a.tanh ? GeluTanhSlope(in) : GeluErfSlope(in);
          sum.v[j] += d.v[j];
        }
        Store(d, a.output + i);
      }
    }
    WriteTileSum(thread, sum, tile.column, a.columns, a.partial + tile.row_block * a.columns);
  }
};

template <typename T>
struct ColumnSumKernel {
  ColumnSumArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int all = a.parts * a.columns;
    const Tile tile = TileOf(thread, all, a.rows, a.rows_per_block);
    Vector sum{};
    if (tile.column < all) {
      const T* x = a.x[tile.column / a.columns] + tile.column % a.columns;
      for (int64_t row = tile.first + WarpOf(thread); row < tile.last; row += WarpsOf(thread)) {
        const Vector value = Load(x + row * a.stride);
        for (int j = 0; j < kVector; ++j) sum.v[j] += value.v[j];
        if (a.copy != nullptr) Store(value, a.copy + row * all + tile.column);
      }
    }
    WriteTileSum(thread, sum, tile.column, all, a.partial + tile.row_block * all);
  }
};

// A block folds 32 columns. Shared memory: a float a thread.
struct FoldKernel {
  FoldArgs a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    float* shared = static_cast<float*>(thread.shared());
    const int all = a.count * a.columns;
    const int64_t column = thread.block() * kWarp + LaneOf(thread);
    float sum = 0;
    if (column < all) {
      for (int64_t part = WarpOf(thread); part < a.parts; part += WarpsOf(thread))
        sum += a.partial[part * a.stride + column];
    }
    shared[thread.index()] = sum;
    thread.Sync();
    if (WarpOf(thread) != 0 || column >= all) return;
    float* grad = a.grad[column / a.columns];
    if (grad == nullptr) return;
    float total = 0;
    for (int warp = 0; warp < WarpsOf(thread); ++warp) total += shared[warp * kWarp + LaneOf(thread)];
    grad[column % a.columns] += total;
  }
};

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_COLUMN_KERNELS_H_
