// The layouts in which processors with matrix tiles (Intel AMX) take bf16 matrices: the left factor row by row, the
// right one with two consecutive rows interleaved. Compiled once per instruction set, like kernels.h, and under the
// same rules: raw pointers, no Torch, no threads, no allocation.
#ifndef BERT_WORKER_MODEL_CPU_TILES_H_
#define BERT_WORKER_MODEL_CPU_TILES_H_

#include <cstdint>

#include "worker/model/cpu/kernels.h"

namespace bert::model::cpu {

// Rows [0, rows) of a bf16 matrix whose rows are `stride` apart.
struct Bf16Rows {
  const Bf16* values;
  int64_t stride;
  int64_t rows;
  int64_t columns;
};

struct TileKernels {
  // pairs[p * pairs_stride + c] holds x[2p][c] in its lower half and x[2p + 1][c] in its upper one, for 2p < rows_to.
  // Rows from x.rows on count as zero; rows_to is even.
  void (*interleave)(const Bf16Rows& x, int64_t rows_to, uint32_t* pairs, int64_t pairs_stride);
  // to[c * to_stride + r] = x[r][c] for r < rows_to, with zero for rows from x.rows on.
  void (*transpose)(const Bf16Rows& x, int64_t rows_to, Bf16* to, int64_t to_stride);
};

// For the best instruction set of this machine.
const TileKernels& Tiles();

}  // namespace bert::model::cpu

#endif  // BERT_WORKER_MODEL_CPU_TILES_H_
