#include "worker/trainer/validation.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/status_macros.h"
#include "worker/trainer/batch_tensors.h"

namespace bert::trainer {
namespace {

enum Sum { kNll, kMaskedTokens, kCorrect, kNextSentenceNll, kNextSentenceRows, kNextSentenceCorrect, kSumCount };

}  // namespace

absl::StatusOr<ValidationMetrics> Validate(model::MaskedLm& model, collective::Collective& group,
                                           const OpenBatchSource& open, const ValidationOptions& options,
                                           int64_t step) {
  // One micro-batch of each rank is a step of the split.
  const int64_t global_rows = static_cast<int64_t>(options.micro_batch_size) * group.world_size();
  const int64_t begin = static_cast<int64_t>(options.micro_batch_size) * group.rank();
  const RowRange range = {.split = Split::kValidation,
                          .global_rows = static_cast<int32_t>(global_rows),
                          .row_begin = static_cast<int32_t>(begin),
                          .row_end = static_cast<int32_t>(begin + options.micro_batch_size),
                          .first_step = 0,
                          .last_step = (options.rows + global_rows - 1) / global_rows,
                          .split_rows = options.split_rows};
  const at::Device device = model.parameters().master().device();
  at::Tensor sums = at::zeros({kSumCount}, at::kDouble);
  double* sum = sums.mutable_data_ptr<double>();
  ASSIGN_OR_RETURN(const std::unique_ptr<BatchSource> source, open(range));
  for (int64_t i = 0; i < range.last_step; ++i) {
    ASSIGN_OR_RETURN(const sampling::RowBatch rows, source->NextStep());
    const auto used =
        static_cast<int32_t>(std::clamp<int64_t>(options.rows - i * global_rows - begin, 0, rows.row_count));
    if (used == 0) continue;
    const RowReader reader(rows);
    const model::LossSums loss =
        model.Evaluate(ToDevice(reader.Tensors(0, used, options.max_seq_len, model.config().pad_token_id), device));
    sum[kNll] += loss.nll.item<double>();
    sum[kMaskedTokens] += static_cast<double>(loss.masked_tokens);
    sum[kCorrect] += static_cast<double>(loss.correct);
    if (loss.next_sentence.rows == 0) continue;
    sum[kNextSentenceNll] += loss.next_sentence.nll.item<double>();
    sum[kNextSentenceRows] += static_cast<double>(loss.next_sentence.rows);
    sum[kNextSentenceCorrect] += static_cast<double>(loss.next_sentence.correct);
  }
  at::Tensor reduced = sums.to(device);
  RETURN_IF_ERROR(group.AllReduceSum(reduced));
  sums.copy_(reduced);
  const double masked_tokens = std::max(sum[kMaskedTokens], 1.0);
  const double loss = sum[kNll] / masked_tokens;
  ValidationMetrics metrics = {.step = step,
                               .loss = loss,
                               .perplexity = std::exp(loss),
                               .accuracy = sum[kCorrect] / masked_tokens,
                               .masked_tokens = static_cast<int64_t>(sum[kMaskedTokens]),
                               .next_sentence = std::nullopt};
  if (const double rows = sum[kNextSentenceRows]; rows > 0) {
    metrics.next_sentence = {.loss = sum[kNextSentenceNll] / rows, .accuracy = sum[kNextSentenceCorrect] / rows};
  }
  return metrics;
}

}  // namespace bert::trainer
