#include "dataloader/service/batch_cursor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace bert::loader {
namespace {

// Responses stay around this size at most, one row always fitting; gRPC's own limit is four times as much.
constexpr int64_t kResponseBytesMax = 1 << 20;
// Of a token on the wire with its part of masks and boundaries; around 2.6 with the usual 15% masked.
constexpr int64_t kBytesPerToken = 8;

int32_t RowsPerResponse(const v1::OpenStream& open) {
  const int64_t most = std::max<int64_t>(1, kResponseBytesMax / (kBytesPerToken * open.max_seq_len()));
  return static_cast<int32_t>(open.rows_per_response() > 0 ? std::min<int64_t>(open.rows_per_response(), most) : most);
}

sampling::Masking MaskingOf(const v1::MaskingSpec& spec) {
  sampling::Masking masking;
  if (spec.has_probability()) masking.probability = spec.probability();
  if (spec.has_mask_share()) masking.mask_share = spec.mask_share();
  if (spec.has_random_share()) masking.random_share = spec.random_share();
  if (spec.has_whole_word()) masking.whole_word = spec.whole_word();
  if (spec.has_ngram_max()) masking.ngram_max = spec.ngram_max();
  if (spec.has_max_predictions_per_seq()) masking.max_predictions_per_seq = spec.max_predictions_per_seq();
  return masking;
}

absl::Status CheckRange(const v1::OpenStream& open, const sampling::BatchSampler& sampler) {
  if (open.row_begin() >= open.row_end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows [", open.row_begin(), ", ", open.row_end(), ") of a step are none"));
  }
  if (open.last_step() != 0 && open.last_step() < open.first_step()) {
    return absl::InvalidArgumentError(
        absl::StrCat("steps [", open.first_step(), ", ", open.last_step(), ") end before they begin"));
  }
  RETURN_IF_ERROR(sampler.CheckRange(open.first_step(), open.row_begin(), open.row_end()));
  const int64_t last = std::max(open.first_step(), open.last_step() - 1);
  return sampler.CheckRange(last, open.row_begin(), open.row_end());
}

}  // namespace

absl::StatusOr<sampling::RowFormat> RowFormatOf(v1::RowFormat rows) {
  switch (rows) {
    case v1::ROW_FORMAT_UNSPECIFIED:
    case v1::ROW_FORMAT_PACKED:
      return sampling::RowFormat::kPacked;
    case v1::ROW_FORMAT_TRUNCATE_PAD:
      return sampling::RowFormat::kTruncatePad;
    case v1::ROW_FORMAT_SENTENCE_PAIR:
      return sampling::RowFormat::kSentencePair;
    default:
      return absl::InvalidArgumentError(absl::StrCat("rows: this dataloader knows no format ", static_cast<int>(rows),
                                                     "; it may be an older version"));
  }
}

absl::StatusOr<std::unique_ptr<BatchCursor>> BatchCursor::Open(const v1::OpenStream& open, DatasetCache& datasets) {
  sampling::BatchOrder order{
      .split = corpus::SplitKind::kTrain, .seed = open.seed(), .global_batch_size = open.global_batch_size()};
  switch (open.split()) {
    case v1::SPLIT_TRAIN:
      break;
    case v1::SPLIT_VALIDATION:
      order.split = corpus::SplitKind::kValidation;
      break;
    default:
      return absl::InvalidArgumentError("split is neither SPLIT_TRAIN nor SPLIT_VALIDATION");
  }
  ASSIGN_OR_RETURN(const sampling::RowFormat format, RowFormatOf(open.rows()));
  ASSIGN_OR_RETURN(auto served, datasets.Get(open.dataset(), open.dataset_digest()));
  ASSIGN_OR_RETURN(auto rows, served->Rows(order.split, open.max_seq_len(), format));
  ASSIGN_OR_RETURN(auto sampler, sampling::BatchSampler::Create(std::move(rows), order, MaskingOf(open.masking())));
  RETURN_IF_ERROR(CheckRange(open, *sampler));
  return std::unique_ptr<BatchCursor>(new BatchCursor(open, std::move(served), std::move(sampler)));
}

BatchCursor::BatchCursor(const v1::OpenStream& open, std::shared_ptr<ServedDataset> served,
                         std::unique_ptr<sampling::BatchSampler> sampler)
    : open_(open),
      served_(std::move(served)),
      vocab_size_(served_->dataset().vocabulary().vocab_size),
      rows_per_response_(RowsPerResponse(open)),
      sampler_(std::move(sampler)),
      step_(open.first_step()),
      row_(open.row_begin()) {}

absl::Status BatchCursor::Next(v1::StreamBatchesResponse* response) {
  BERT_CHECK(!Done()) << "step " << step_;
  RETURN_IF_ERROR(served_->damage());
  RETURN_IF_ERROR(sampler_->CheckRange(step_, open_.row_begin(), open_.row_end()));
  const int32_t step_end = sampler_->ExistingEnd(step_, open_.row_end());
  const int32_t end =
      std::max(row_, static_cast<int32_t>(std::min<int64_t>(int64_t{row_} + rows_per_response_, step_end)));
  if (const absl::Status filled = sampler_->FillRows(step_, row_, end, &batch_); !filled.ok()) {
    if (absl::IsDataLoss(filled)) served_->MarkDamaged(filled);
    return filled;
  }
  sampling::EncodedRows rows = sampling::Encode(batch_, vocab_size_);
  response->set_step(rows.step);
  response->set_row_begin(rows.row_begin);
  response->set_row_count(rows.row_count);
  response->set_token_ids(std::move(rows.token_ids));
  response->set_segment_counts(std::move(rows.segment_counts));
  response->set_segment_lengths(std::move(rows.segment_lengths));
  response->set_masked_counts(std::move(rows.masked_counts));
  response->set_masked_positions(std::move(rows.masked_positions));
  response->set_labels(std::move(rows.labels));
  response->set_second_begins(std::move(rows.second_begins));
  response->set_is_next(std::move(rows.is_next));
  row_ = end;
  if (row_ >= step_end) {
    ++step_;
    row_ = open_.row_begin();
  }
  return absl::OkStatus();
}

}  // namespace bert::loader
