#include "worker/model/packing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/check.h"

namespace bert::model {
namespace {

constexpr int64_t kTokensMultiple = 32;

// The tokens of the spans, from where they are in [R, S] to where they are packed; `padding` elsewhere.
at::Tensor PackedIds(const AttentionPlan& plan, const at::Tensor& ids, int64_t padding) {
  const at::Tensor all = ids.contiguous();
  at::Tensor packed = at::full({plan.tokens}, padding, at::kLong);
  const int64_t* from = all.const_data_ptr<int64_t>();
  int64_t* to = packed.mutable_data_ptr<int64_t>();
  for (const AttentionPlan::Span& span : plan.spans) {
    std::copy_n(from + span.row * plan.seq + span.begin, span.length, to + span.token);
  }
  return packed;
}

// Where tokens of [R * S] are packed.
at::Tensor PackedPositions(const AttentionPlan& plan, const at::Tensor& positions) {
  std::vector<int64_t> place(static_cast<size_t>(plan.rows * plan.seq), -1);
  for (const AttentionPlan::Span& span : plan.spans) {
    for (int64_t i = 0; i < span.length; ++i) {
      place[static_cast<size_t>(span.row * plan.seq + span.begin + i)] = span.token + i;
    }
  }
  at::Tensor packed = positions.contiguous().clone();
  int64_t* position = packed.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < packed.numel(); ++i) {
    BERT_CHECK(position[i] >= 0 && position[i] < plan.rows * plan.seq && place[static_cast<size_t>(position[i])] >= 0)
        << "position " << position[i] << " is not on a token";
    position[i] = place[static_cast<size_t>(position[i])];
  }
  return packed;
}

}  // namespace

PackedBatch Pack(const MaskedBatch& batch, const ModelConfig& config) {
  BERT_CHECK(batch.input_ids.dim() == 2 && batch.segments.sizes() == batch.input_ids.sizes() &&
             batch.position_ids.sizes() == batch.input_ids.sizes())
      << "a batch of unequal shapes";
  BERT_CHECK(!batch.token_type_ids.defined() || batch.token_type_ids.sizes() == batch.input_ids.sizes())
      << "a batch of unequal shapes";
  PackedBatch packed;
  packed.input = {
      .ids = {.words = batch.input_ids.flatten(),
              .positions = batch.position_ids.flatten(),
              .token_types = batch.token_type_ids.defined() ? batch.token_type_ids.flatten() : at::Tensor()},
      .attention = MakeAttentionPlan(batch.segments, config.num_attention_heads,
                                     config.hidden_size / config.num_attention_heads, batch.segments_max)};
  packed.masked_positions = batch.masked_positions;
  if (config.next_sentence) {
    packed.first_tokens = at::arange(batch.input_ids.size(0), batch.input_ids.options()) * batch.input_ids.size(1);
  }
  if (!batch.input_ids.is_cpu()) return packed;
  AttentionPlan& plan = packed.input.attention;
  int64_t tokens = 0;
  for (const AttentionPlan::Span& span : plan.spans) tokens += span.length;
  tokens = std::max(kTokensMultiple, (tokens + kTokensMultiple - 1) / kTokensMultiple * kTokensMultiple);
  if (tokens >= plan.tokens) return packed;
  int64_t next = 0;
  for (AttentionPlan::Span& span : plan.spans) span.token = std::exchange(next, next + span.length);
  plan.tokens = tokens;
  EmbeddingIds& ids = packed.input.ids;
  ids.words = PackedIds(plan, batch.input_ids, config.pad_token_id);
  ids.positions = PackedIds(plan, batch.position_ids, 0);
  if (ids.token_types.defined()) ids.token_types = PackedIds(plan, batch.token_type_ids, 0);
  packed.masked_positions = PackedPositions(plan, batch.masked_positions);
  if (packed.first_tokens.defined()) packed.first_tokens = PackedPositions(plan, packed.first_tokens);
  return packed;
}

}  // namespace bert::model
