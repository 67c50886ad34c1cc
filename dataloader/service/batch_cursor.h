// What one stream has to send, response by response.
#ifndef BERT_DATALOADER_SERVICE_BATCH_CURSOR_H_
#define BERT_DATALOADER_SERVICE_BATCH_CURSOR_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bert/v1/dataloader.pb.h"
#include "dataloader/sampling/batch_sampler.h"
#include "dataloader/sampling/row_format.h"
#include "dataloader/service/dataset_cache.h"

namespace bert::loader {

// INVALID_ARGUMENT: no format that there is; unspecified means packed.
absl::StatusOr<sampling::RowFormat> RowFormatOf(v1::RowFormat rows);

// Walks the steps of an OpenStream and its rows within each. Not thread-safe; knows nothing of credits and calls.
class BatchCursor {
 public:
  // Opens the dataset, which may take long the first time. Errors as DataloaderService.StreamBatches.
  static absl::StatusOr<std::unique_ptr<BatchCursor>> Open(const v1::OpenStream& open, DatasetCache& datasets);

  // True after the last response of the last step.
  bool Done() const { return open_.last_step() > 0 && step_ >= open_.last_step(); }

  // Fills `response` with the next rows; every step has at least one response, though maybe without rows. Not to be
  // called when Done(). INVALID_ARGUMENT: a stream without end has come to the last step that can be counted.
  // DATA_LOSS: the dataset has been found damaged, by this stream or elsewhere.
  absl::Status Next(v1::StreamBatchesResponse* response);

  int32_t vocab_size() const { return vocab_size_; }

 private:
  BatchCursor(const v1::OpenStream& open, std::shared_ptr<ServedDataset> served,
              std::unique_ptr<sampling::BatchSampler> sampler);

  const v1::OpenStream open_;
  const std::shared_ptr<ServedDataset> served_;
  const int32_t vocab_size_;
  const int32_t rows_per_response_;
  const std::unique_ptr<sampling::BatchSampler> sampler_;
  int64_t step_;
  int32_t row_;
  sampling::RowBatch batch_;
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_BATCH_CURSOR_H_
