// One matrix product as cuBLAS is asked for it, without its types: so that a test can do what cuBLAS documents.
#ifndef BERT_WORKER_MODEL_CUDA_PRODUCT_H_
#define BERT_WORKER_MODEL_CUDA_PRODUCT_H_

#include <cstdint>

#include "worker/model/cuda/thread.h"

namespace bert::model::cuda {

// D [m, n] = op(A) [m, k] op(B) [k, n] + beta D + bias, in cuBLAS's order: column-major, element (row, column) of a
// matrix at row + column * its leading dimension. Sums in fp32. All columns of all matrices are aligned to 16 bytes.
struct Product {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  bool transpose_a = false;  // A is [k, m].
  bool transpose_b = false;  // B is [n, k].
  const Bf16* a = nullptr;
  int64_t lda = 0;
  const Bf16* b = nullptr;
  int64_t ldb = 0;
  // One of the two.
  Bf16* d_bf16 = nullptr;
  float* d_fp32 = nullptr;
  int64_t ldd = 0;
  float beta = 0;
  const Bf16* bias = nullptr;  // [m], added to each column; or null.
};

// By cuBLASLt on the current stream. Only in builds with CUDA. Throws c10::Error.
void RunProduct(const Product& product);

}  // namespace bert::model::cuda

#endif  // BERT_WORKER_MODEL_CUDA_PRODUCT_H_
