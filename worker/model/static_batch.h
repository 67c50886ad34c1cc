// A micro-batch in a shape that many share, in one piece of memory: what a recorded pass reads again and again.
#ifndef BERT_WORKER_MODEL_STATIC_BATCH_H_
#define BERT_WORKER_MODEL_STATIC_BATCH_H_

#include <ATen/core/Tensor.h>

#include <compare>
#include <cstdint>

#include "worker/model/masked_lm.h"

namespace bert::model {

struct StaticShape {
  int64_t rows = 0;
  int64_t seq = 0;
  int64_t masked = 0;    // Places for masked positions.
  int64_t segments = 0;  // The most segments, padding of each row counting as one.

  friend auto operator<=>(const StaticShape&, const StaticShape&) = default;
};

// The shape for a batch on the CPU: masked positions rounded up to a multiple of 1/64 of its tokens (at least 64), and
// segments to a power of two, so that the batches of a job have few shapes between them.
StaticShape ShapeFor(const MaskedBatch& batch);

// Not for batches with token types or next-sentence labels.
class StaticBatch {
 public:
  // `options`: the device, and whether the memory is pinned.
  StaticBatch(const StaticShape& shape, const at::TensorOptions& options);

  // Copies a batch of this shape, on the CPU, and the seed of its dropout. Places that are left over hold position 0
  // with a label that does not count. Only where this is on the CPU.
  void Fill(const MaskedBatch& batch, uint64_t seed);
  // From another of the same shape, on the current stream.
  void CopyFrom(const StaticBatch& other) { memory_.copy_(other.memory_, /*non_blocking=*/true); }

  // Views. Its number of masked tokens is that of the last Fill here, which CopyFrom leaves as it is.
  const MaskedBatch& batch() const { return batch_; }
  const uint64_t* seed() const { return static_cast<const uint64_t*>(seed_.data_ptr()); }

 private:
  at::Tensor memory_;  // int64
  MaskedBatch batch_;
  at::Tensor seed_;  // int64 [1]
};

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_STATIC_BATCH_H_
