// Compiled once per instruction set, with BERT_TILE_SET naming the result; see kernels.cc for what that forbids.
#include "worker/model/cpu/tiles.h"

namespace bert::model::cpu {
namespace {

constexpr int kLanes = 16;

// A register of 16 pairs; GCC and Clang split it where the set has narrower ones.
typedef uint32_t Pairs __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// By reference: how wide vectors are returned differs between instruction sets.
inline void LoadPairs(const Bf16* even, const Bf16* odd, Pairs& pairs) {
  const Pairs low = __builtin_convertvector(*reinterpret_cast<const Halves*>(even), Pairs);
  const Pairs high = __builtin_convertvector(*reinterpret_cast<const Halves*>(odd), Pairs);
  pairs = low | (high << 16);
}

inline void StorePairs(const Pairs& pairs, void* to) { __builtin_memcpy(to, &pairs, sizeof(pairs)); }

inline uint32_t BitsAt(const Bf16Rows& x, int64_t row, int64_t column) {
  return row < x.rows ? x.values[row * x.stride + column].bits : 0u;
}

void Interleave(const Bf16Rows& x, int64_t rows_to, uint32_t* pairs, int64_t pairs_stride) {
  for (int64_t row = 0; row < rows_to; row += 2, pairs += pairs_stride) {
    const Bf16* even = x.values + row * x.stride;
    int64_t c = 0;
    if (row + 1 < x.rows) {
      for (; c + kLanes <= x.columns; c += kLanes) {
        Pairs both;
        LoadPairs(even + c, even + x.stride + c, both);
        StorePairs(both, pairs + c);
      }
    }
    for (; c < x.columns; ++c) pairs[c] = BitsAt(x, row, c) | BitsAt(x, row + 1, c) << 16;
  }
}

// One step of the transposition of a 16 by 16 matrix: exchanges the blocks beside the diagonal in every square of
// 2 * kBlock rows and columns.
template <int kBlock>
inline void ExchangeBlocks(Pairs (&rows)[kLanes]) {
  Pairs upper = {};
  Pairs lower = {};
  for (int i = 0; i < kLanes; ++i) {
    const bool first = (i & kBlock) == 0;
    upper[i] = static_cast<uint32_t>(first ? i : kLanes + i - kBlock);
    lower[i] = static_cast<uint32_t>(first ? i + kBlock : kLanes + i);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kBlock) != 0) continue;
    const Pairs a = rows[i];
    const Pairs b = rows[i + kBlock];
    rows[i] = __builtin_shuffle(a, b, upper);
    rows[i + kBlock] = __builtin_shuffle(a, b, lower);
  }
}

// 32 rows by 16 columns: as 16 by 16 pairs of rows.
inline void TransposeBlock(const Bf16* from, int64_t stride, Bf16* to, int64_t to_stride) {
  Pairs rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) LoadPairs(from + 2 * i * stride, from + (2 * i + 1) * stride, rows[i]);
  ExchangeBlocks<8>(rows);
  ExchangeBlocks<4>(rows);
  ExchangeBlocks<2>(rows);
  ExchangeBlocks<1>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) StorePairs(rows[i], to + i * to_stride);
}

void Transpose(const Bf16Rows& x, int64_t rows_to, Bf16* to, int64_t to_stride) {
  int64_t row = 0;
  const int64_t whole_columns = x.columns - x.columns % kLanes;
  for (; row + 2 * kLanes <= x.rows; row += 2 * kLanes) {
    for (int64_t c = 0; c < whole_columns; c += kLanes) {
      TransposeBlock(x.values + row * x.stride + c, x.stride, to + c * to_stride + row, to_stride);
    }
  }
  for (int64_t c = 0; c < x.columns; ++c) {
    for (int64_t r = c < whole_columns ? row : 0; r < rows_to; ++r) {
      to[c * to_stride + r].bits = static_cast<uint16_t>(BitsAt(x, r, c));
    }
  }
}

}  // namespace

extern const TileKernels BERT_TILE_SET;
const TileKernels BERT_TILE_SET = {.interleave = Interleave, .transpose = Transpose};

}  // namespace bert::model::cpu
