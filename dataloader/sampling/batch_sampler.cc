#include "dataloader/sampling/batch_sampler.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "dataloader/sampling/pair_exchange.h"

namespace bert::sampling {
namespace {

constexpr size_t kPrefetchRows = 3;
constexpr int64_t kRowNumberMax = int64_t{1} << 62;

}  // namespace

absl::StatusOr<std::unique_ptr<BatchSampler>> BatchSampler::Create(std::shared_ptr<const RowIndex> rows,
                                                                   const BatchOrder& order, const Masking& masking) {
  RETURN_IF_ERROR(ValidateMasking(masking));
  if (order.global_batch_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat("global_batch_size ", order.global_batch_size, " is below 1"));
  }
  if (order.split == corpus::SplitKind::kTrain && rows->rows() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("dataset ", rows->dataset().directory(), ": the train split is empty"));
  }
  return std::unique_ptr<BatchSampler>(new BatchSampler(std::move(rows), order, masking));
}

BatchSampler::BatchSampler(std::shared_ptr<const RowIndex> rows, const BatchOrder& order, const Masking& masking)
    : rows_(std::move(rows)), order_(order), masker_(rows_->dataset().vocabulary(), masking, order.seed) {
  if (order_.split == corpus::SplitKind::kTrain) permutation_.emplace(rows_->rows(), order_.seed, epoch_);
}

absl::Status BatchSampler::CheckRange(int64_t step, int32_t row_begin, int32_t row_end) const {
  if (row_begin < 0 || row_begin > row_end || row_end > order_.global_batch_size) {
    return absl::InvalidArgumentError(absl::StrCat("rows [", row_begin, ", ", row_end, ") are not within the ",
                                                   order_.global_batch_size, " rows of a step"));
  }
  const bool too_far = step >= kRowNumberMax / order_.global_batch_size;
  const bool past_last_epoch = !too_far && permutation_.has_value() &&
                               (step + 1) * order_.global_batch_size / rows_->rows() >
                                   static_cast<int64_t>(std::numeric_limits<uint32_t>::max());
  if (step < 0 || too_far || past_last_epoch) {
    return absl::InvalidArgumentError(absl::StrCat("step ", step, " does not exist"));
  }
  return absl::OkStatus();
}

int32_t BatchSampler::ExistingEnd(int64_t step, int32_t row_end) const {
  if (permutation_.has_value()) return row_end;
  const int64_t left = rows_->rows() - step * order_.global_batch_size;
  return static_cast<int32_t>(std::clamp<int64_t>(left, 0, row_end));
}

absl::Status BatchSampler::FillRows(int64_t step, int32_t row_begin, int32_t row_end, RowBatch* batch) {
  const absl::Status in_range = CheckRange(step, row_begin, row_end);
  BERT_CHECK(in_range.ok()) << in_range;
  batch->Clear();
  batch->step = step;
  batch->row_begin = row_begin;
  const int64_t first = step * order_.global_batch_size;
  const int64_t end = first + ExistingEnd(step, row_end);
  located_.clear();
  for (int64_t number = first + row_begin; number < end; ++number) located_.push_back(Locate(number));
  for (size_t i = 0; i < located_.size(); ++i) {
    // Rows of a permutation lie anywhere in memory.
    if (i + kPrefetchRows < located_.size()) rows_->Prefetch(located_[i + kPrefetchRows].row);
    RETURN_IF_ERROR(AppendRow(located_[i], batch));
  }
  return absl::OkStatus();
}

BatchSampler::RowInEpoch BatchSampler::Locate(int64_t number) {
  if (!permutation_.has_value()) return {.epoch = 0, .row = number};
  const auto epoch = static_cast<uint64_t>(number / rows_->rows());
  if (epoch != epoch_) {
    epoch_ = epoch;
    permutation_.emplace(rows_->rows(), order_.seed, epoch);
  }
  return {.epoch = epoch, .row = (*permutation_)(number % rows_->rows())};
}

absl::Status BatchSampler::AppendRow(const RowInEpoch& row, RowBatch* batch) {
  RETURN_IF_ERROR(rows_->GetPieces(row.row, &pieces_));
  const size_t row_offset = batch->token_ids.size();
  texts_.clear();
  if (rows_->format() == RowFormat::kSentencePair) {
    RETURN_IF_ERROR(AppendPair(row, batch));
  } else {
    AppendSegments(batch);
  }
  RETURN_IF_ERROR(rows_->CheckNotLost(pieces_));
  // Every id was checked when the dataset was opened, so this finds what has happened to the files since.
  const corpus::VocabularyFacts& vocabulary = rows_->dataset().vocabulary();
  const auto vocab_size = static_cast<uint32_t>(vocabulary.vocab_size);
  uint32_t largest = 0;  // Negative ids become very large ones.
  uint32_t padding = 0;
  for (size_t i = row_offset; i < batch->token_ids.size(); ++i) {
    largest = std::max(largest, static_cast<uint32_t>(batch->token_ids[i]));
    padding += batch->token_ids[i] == vocabulary.pad_id ? 1 : 0;
  }
  if (largest >= vocab_size) {
    return absl::DataLossError(absl::StrCat(rows_->split().ShardAt(pieces_.front().begin).path(), ": damaged: row ",
                                            row.row, " has token ", largest, " of a vocabulary of ", vocab_size));
  }
  // Where a file is cut off within a page, the rest of that page reads as zeros without a fault; no text has [PAD].
  if (padding > 0) {
    return absl::DataLossError(absl::StrCat(rows_->split().ShardAt(pieces_.front().begin).path(), ": damaged: row ",
                                            row.row, " has [PAD] within its text"));
  }
  const int masked = masker_.MaskRow(row.epoch, row.row, absl::MakeSpan(batch->token_ids).subspan(row_offset), texts_,
                                     &batch->masked_positions, &batch->labels);
  batch->masked_counts.push_back(static_cast<uint16_t>(masked));
  ++batch->row_count;
  return absl::OkStatus();
}

void BatchSampler::AppendSegments(RowBatch* batch) {
  const corpus::VocabularyFacts& vocabulary = rows_->dataset().vocabulary();
  const size_t row_offset = batch->token_ids.size();
  for (const Piece& piece : pieces_) {
    const size_t offset = batch->token_ids.size();
    batch->token_ids.resize(offset + static_cast<size_t>(piece.length) + 2);
    int32_t* out = batch->token_ids.data() + offset;
    out[0] = vocabulary.cls_id;
    rows_->split().CopyTokens(piece.begin, piece.length, out + 1);
    out[piece.length + 1] = vocabulary.sep_id;
    batch->segment_lengths.push_back(static_cast<uint16_t>(piece.length + 2));
    const size_t begin = offset - row_offset + 1;
    texts_.push_back({static_cast<uint16_t>(begin), static_cast<uint16_t>(begin + static_cast<size_t>(piece.length))});
  }
  batch->segment_counts.push_back(static_cast<uint16_t>(pieces_.size()));
}

absl::Status BatchSampler::AppendPair(const RowInEpoch& row, RowBatch* batch) {
  const corpus::VocabularyFacts& vocabulary = rows_->dataset().vocabulary();
  const Piece first = pieces_[0];
  const int64_t giver = SecondPartOf(*rows_, order_.seed, row.epoch, row.row);
  if (giver != row.row) {
    RETURN_IF_ERROR(rows_->GetPieces(giver, &pieces_));
  }
  const Piece second = pieces_[1];
  pieces_ = {first, second};
  const size_t offset = batch->token_ids.size();
  const int32_t second_begin = first.length + 2;
  const int32_t length = second_begin + second.length + 1;
  batch->token_ids.resize(offset + static_cast<size_t>(length));
  int32_t* out = batch->token_ids.data() + offset;
  out[0] = vocabulary.cls_id;
  rows_->split().CopyTokens(first.begin, first.length, out + 1);
  out[second_begin - 1] = vocabulary.sep_id;
  rows_->split().CopyTokens(second.begin, second.length, out + second_begin);
  out[length - 1] = vocabulary.sep_id;
  batch->segment_counts.push_back(1);
  batch->segment_lengths.push_back(static_cast<uint16_t>(length));
  batch->second_begins.push_back(static_cast<uint16_t>(second_begin));
  batch->is_next.push_back(giver == row.row ? 1 : 0);
  texts_.push_back({1, static_cast<uint16_t>(second_begin - 1)});
  texts_.push_back({static_cast<uint16_t>(second_begin), static_cast<uint16_t>(length - 1)});
  return absl::OkStatus();
}

}  // namespace bert::sampling
