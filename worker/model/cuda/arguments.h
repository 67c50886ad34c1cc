// What each kernel of this folder takes: raw pointers into device memory and sizes. Matrices are row-major; T is float
// or Bf16. Unless a stride is given, rows follow each other without gaps. Where a kernel works on four elements at
// once, `columns` is a multiple of four and pointers are aligned to four elements.
#ifndef BERT_WORKER_MODEL_CUDA_ARGUMENTS_H_
#define BERT_WORKER_MODEL_CUDA_ARGUMENTS_H_

#include <cstdint>

#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

// How many threads run a kernel.
struct Grid {
  int64_t blocks = 1;
  int threads = kWarp;       // Of a block; a multiple of 32.
  int64_t shared_bytes = 0;  // Of a block; at most 48 KiB.
};

// sum = residual + dropout(branch + bias); output = LayerNorm(sum). A warp a row.
template <typename T>
struct NormForwardArgs {
  int64_t rows;
  int columns;        // At most kNormColumnsMax.
  T* sum;             // In: the branch. Out: the sum.
  const T* bias;      // [columns] or null.
  const T* residual;  // Or null.
  DropoutMask dropout;
  const float* weight;     // [columns], of the LayerNorm.
  const float* norm_bias;  // [columns]
  float eps;
  T* output;
  float* mean;  // [rows]
  float* rstd;  // [rows]
};
inline constexpr int kNormColumnsMax = 2048;

template <typename T>
struct NormBackwardArgs {
  int64_t rows;
  int columns;
  int64_t rows_per_block;
  const T* d_output;
  const T* d_output_too;  // Added to d_output; or null.
  const T* d_direct;      // Added to d_sum; or null.
  const T* sum;
  const float* mean;
  const float* rstd;
  const float* weight;
  DropoutMask dropout;
  T* d_sum;
  T* d_branch;  // Null where no dropout is active: then it equals d_sum.
  // [blocks, 3, columns]: each block's sums for the LayerNorm's weight, its bias, and the branch's bias.
  float* partial;
};

// grad[k][c] += the sum over p of partial[p][k * columns + c], in a fixed order.
struct FoldArgs {
  int64_t parts;
  int columns;
  int count;             // Of gradients, at most 3.
  int64_t stride;        // Elements from a part to the next: at least count * columns.
  const float* partial;  // [parts, stride]
  float* grad[3];        // Null for none.
};

// output = gelu(x + bias), or, backward, output = d_output * gelu'(x + bias) with the sums of its columns.
template <typename T>
struct GeluArgs {
  int64_t rows;
  int columns;
  const T* x;
  const T* bias;
  bool tanh;
  const T* d_output;       // Backward only.
  T* output;               // May be d_output.
  int64_t rows_per_block;  // Backward only, as the next.
  float* partial;          // [row blocks, columns]
};

// Sums of the columns of x, which it may copy on the way. `x` is up to three matrices of `columns` each, side by side
// in the copy: [rows, parts * columns].
template <typename T>
struct ColumnSumArgs {
  int64_t rows;
  int columns;
  int parts;
  const T* x[3];
  int64_t stride;  // Elements from a row of x to the next.
  T* copy;         // Or null.
  int64_t rows_per_block;
  float* partial;  // [row blocks, parts * columns]
};

template <typename T>
struct DropoutArgs {
  int64_t count;
  T* x;
  DropoutMask dropout;
};

// A block a row of logits + bias. A negative label is nobody's: neither loss nor gradient.
template <typename T>
struct CrossEntropyArgs {
  int64_t rows;
  int columns;     // Any number.
  int64_t stride;  // A multiple of four.
  T* logits;       // Out, with a gradient: the gradient of the logits.
  const T* bias;   // Of any alignment.
  const int64_t* labels;
  float* nll;  // [rows]
  bool with_gradient;
};

// output[t] = the sum of a row of each of `tables` tables.
template <typename T>
struct EmbedArgs {
  int64_t tokens;
  int columns;
  int tables;  // At most 3.
  const float* table[3];
  const int64_t* ids[3];  // Null: row 0 for all.
  T* output;
};

// table[id[t]] += d_rows[t], with the tokens sorted by id, in a fixed order and without atomic operations. The first
// kernel adds what lies within one chunk of kScatterChunk sorted tokens and leaves the two ends of each chunk in
// `edge`; the second adds these.
template <typename T>
struct ScatterArgs {
  int64_t tokens;
  int columns;
  const int64_t* sorted_ids;  // [tokens], ascending.
  const int64_t* order;       // [tokens]: which token stands there.
  const T* d_rows;
  float* table;
  float* edge;       // [chunks, 2, columns]
  int64_t* edge_id;  // [chunks, 2]; -1: none.
};
inline constexpr int kScatterChunk = 64;

// Where each run of equal segment numbers in a row begins, padding too: starts[0 .. runs), then `tokens` up to the end
// of `starts`. One block.
struct SegmentStartArgs {
  int64_t tokens;
  int64_t seq;
  const int32_t* segments;  // [tokens]
  int32_t* starts;          // [capacity + 1]
  int64_t capacity;         // At least the number of runs.
};

// AdamW (Loshchilov & Hutter 2019) over flat buffers, as worker/trainer/adamw_kernel.h names its factors.
struct AdamWArgs {
  int64_t count;
  float gradient_scale;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float keep;  // Where weights decay: 1 - learning rate * decay.
  float step_size;
  float inverse_root_bias2;
  float epsilon;
  // Ascending ends of ranges that decay and do not, by turns, beginning with one that does (which may be empty).
  const int64_t* range_ends;
  int ranges;
  const float* grad;
  float* master;
  float* exp_avg;
  float* exp_avg_sq;
  Bf16* compute;  // Or null.
};
// Elements of a block of threads.
inline constexpr int kAdamWBlock = 4096;

// sums[block] = the sum of squares of elements [block, block + 1) * kSquaresBlock, in fp64.
struct SquaresArgs {
  int64_t count;
  const float* values;
  double* sums;
};
inline constexpr int kSquaresBlock = 1 << 14;

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_ARGUMENTS_H_
