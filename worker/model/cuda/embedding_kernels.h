// Sums of table rows by token, and the way back without atomic operations; and where the segments of rows begin.
#ifndef BERT_WORKER_MODEL_CUDA_EMBEDDING_KERNELS_H_
#define BERT_WORKER_MODEL_CUDA_EMBEDDING_KERNELS_H_

#include "worker/model/cuda/arguments.h"
#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

// A warp a token.
template <typename T>
struct EmbedKernel {
  EmbedArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t token = thread.block() * WarpsOf(thread) + WarpOf(thread);
    if (token >= a.tokens) return;
    for (int c = LaneOf(thread) * kVector; c < a.columns; c += kWarpColumns) {
      Vector sum{};
      for (int table = 0; table < a.tables; ++table) {
        const int64_t id = a.ids[table] == nullptr ? 0 : a.ids[table][token];
        const Vector row = Load(a.table[table] + id * a.columns + c);
        for (int i = 0; i < kVector; ++i) sum.v[i] += row.v[i];
      }
      Store(sum, a.output + token * a.columns + c);
    }
  }
};

// A warp takes 128 columns of one chunk.
template <typename T>
struct ScatterKernel {
  ScatterArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    const int64_t tiles = (a.columns + kWarpColumns - 1) / kWarpColumns;
    const int64_t chunks = (a.tokens + kScatterChunk - 1) / kScatterChunk;
    const int64_t share = thread.block() * WarpsOf(thread) + WarpOf(thread);
    const int64_t chunk = share / tiles;
    const int column = static_cast<int>(share % tiles) * kWarpColumns + LaneOf(thread) * kVector;
    if (chunk >= chunks || column >= a.columns) return;
    const int64_t first = chunk * kScatterChunk;
    const int64_t last = first + kScatterChunk < a.tokens ? first + kScatterChunk : a.tokens;
    // Of the run of equal ids that is being summed. The first and the last one may go on in the neighbours.
    int64_t id = a.sorted_ids[first];
    bool first_run = true;
    Vector sum{};
    for (int64_t i = first; i < last; ++i) {
      const int64_t next = a.sorted_ids[i];
      if (next != id) {
        first_run ? Leave(chunk, 0, id, sum, column) : AddRow(id, sum, column);
        first_run = false;
        id = next;
        sum = Vector{};
      }
      const Vector d = Load(a.d_rows + a.order[i] * a.columns + column);
      for (int j = 0; j < kVector; ++j) sum.v[j] += d.v[j];
    }
    Leave(chunk, first_run ? 0 : 1, id, sum, column);
    if (first_run) Leave(chunk, 1, -1, Vector{}, column);
  }

 private:
  BERT_KERNEL void AddRow(int64_t id, const Vector& sum, int column) const {
    float* to = a.table + id * a.columns + column;
    Vector row = Load(to);
    for (int i = 0; i < kVector; ++i) row.v[i] += sum.v[i];
    Store(row, to);
  }
  BERT_KERNEL void Leave(int64_t chunk, int end, int64_t id, const Vector& sum, int column) const {
    Store(sum, a.edge + (chunk * 2 + end) * a.columns + column);
    if (column == 0) a.edge_id[chunk * 2 + end] = id;
  }
};

// A thread a column.
template <typename T>
struct ScatterEdgesKernel {
  ScatterArgs<T> a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    constexpr int kAtOnce = 8;  // Loads under way together.
    const int64_t column = thread.block() * thread.threads() + thread.index();
    if (column >= a.columns) return;
    const int64_t edges = (a.tokens + kScatterChunk - 1) / kScatterChunk * 2;
    int64_t id = -1;
    float sum = 0;
    for (int64_t first = 0; first < edges; first += kAtOnce) {
      int64_t ids[kAtOnce];
      float values[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) {
        ids[i] = first + i < edges ? a.edge_id[first + i] : -1;
        values[i] = first + i < edges ? a.edge[(first + i) * a.columns + column] : 0.0f;
      }
      for (int i = 0; i < kAtOnce; ++i) {
        if (ids[i] < 0) continue;
        if (ids[i] != id) {
          if (id >= 0) a.table[id * a.columns + column] += sum;
          id = ids[i];
          sum = 0;
        }
        sum += values[i];
      }
    }
    if (id >= 0) a.table[id * a.columns + column] += sum;
  }
};

// One block: each thread counts the starts in its share of the tokens, and learns from the counts of those before it
// where to write its own. Shared memory: an int32 a thread.
struct SegmentStartKernel {
  SegmentStartArgs a;

  template <typename Thread>
  BERT_KERNEL void operator()(Thread& thread) const {
    int32_t* counts = static_cast<int32_t*>(thread.shared());
    const int64_t share = (a.tokens + thread.threads() - 1) / thread.threads();
    const int64_t first = share * thread.index() < a.tokens ? share * thread.index() : a.tokens;
    const int64_t last = first + share < a.tokens ? first + share : a.tokens;
    int32_t own = 0;
    for (int64_t i = first; i < last; ++i) own += Begins(i) ? 1 : 0;
    counts[thread.index()] = own;
    thread.Sync();
    int64_t at = 0;
    int64_t all = 0;
    for (int i = 0; i < thread.threads(); ++i) {
      if (i == thread.index()) at = all;
      all += counts[i];
    }
    for (int64_t i = first; i < last; ++i) {
      if (Begins(i) && at < a.capacity) a.starts[at++] = static_cast<int32_t>(i);
    }
    for (int64_t i = all + thread.index(); i <= a.capacity; i += thread.threads()) {
      a.starts[i] = static_cast<int32_t>(a.tokens);
    }
  }

 private:
  BERT_KERNEL bool Begins(int64_t i) const { return i % a.seq == 0 || a.segments[i] != a.segments[i - 1]; }
};

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_EMBEDDING_KERNELS_H_
