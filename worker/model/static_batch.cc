#include "worker/model/static_batch.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/check.h"

namespace bert::model {
namespace {

constexpr int64_t kMaskedStepMin = 64;
constexpr int64_t kMaskedStepsPerBatch = 64;

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

StaticShape ShapeFor(const MaskedBatch& batch) {
  BERT_CHECK(batch.segments.is_cpu() && batch.segments.is_contiguous()) << "a batch that the CPU cannot read";
  const int64_t tokens = batch.input_ids.numel();
  const int64_t step = RoundUp(std::max(kMaskedStepMin, tokens / kMaskedStepsPerBatch), kMaskedStepMin);
  const auto segments = std::bit_ceil(static_cast<uint64_t>(CountSegments(batch.segments)));
  return {.rows = batch.input_ids.size(0),
          .seq = batch.input_ids.size(1),
          .masked = std::max(step, RoundUp(batch.labels.numel(), step)),
          .segments = static_cast<int64_t>(segments)};
}

StaticBatch::StaticBatch(const StaticShape& shape, const at::TensorOptions& options) {
  const int64_t tokens = shape.rows * shape.seq;
  // The segments' 32-bit numbers come last.
  const int64_t longs = 2 * tokens + 2 * shape.masked + 1;
  memory_ = at::zeros({longs + (tokens + 1) / 2}, options.dtype(at::kLong));
  int64_t at = 0;
  const auto take = [&](int64_t size) {
    at += size;
    return memory_.narrow(0, at - size, size);
  };
  batch_.input_ids = take(tokens).view({shape.rows, shape.seq});
  batch_.position_ids = take(tokens).view({shape.rows, shape.seq});
  batch_.masked_positions = take(shape.masked);
  batch_.labels = take(shape.masked);
  seed_ = take(1);
  batch_.segments = memory_.narrow(0, longs, memory_.numel() - longs)
                        .view(at::kInt)
                        .narrow(0, 0, tokens)
                        .view({shape.rows, shape.seq});
  batch_.segments_max = shape.segments;
}

void StaticBatch::Fill(const MaskedBatch& batch, uint64_t seed) {
  const int64_t count = batch.labels.numel();
  BERT_CHECK(memory_.is_cpu() && batch.input_ids.sizes() == batch_.input_ids.sizes() &&
             count <= batch_.labels.numel() && !batch.token_type_ids.defined())
      << "a batch of another shape";
  batch_.input_ids.copy_(batch.input_ids);
  batch_.position_ids.copy_(batch.position_ids);
  batch_.segments.copy_(batch.segments);
  batch_.masked_positions.zero_().narrow(0, 0, count).copy_(batch.masked_positions);
  batch_.labels.fill_(-1).narrow(0, 0, count).copy_(batch.labels);
  batch_.masked_tokens = count;
  std::memcpy(seed_.mutable_data_ptr(), &seed, sizeof(seed));
}

}  // namespace bert::model
