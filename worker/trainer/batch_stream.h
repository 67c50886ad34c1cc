// Rows over gRPC from any of the live dataloaders.
#ifndef BERT_WORKER_TRAINER_BATCH_STREAM_H_
#define BERT_WORKER_TRAINER_BATCH_STREAM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "dataloader/sampling/row_format.h"
#include "worker/trainer/assignment.h"
#include "worker/trainer/batch_source.h"
#include "worker/trainer/loader_list.h"

namespace bert {
struct CredentialFlags;
}

namespace bert::trainer {

struct BatchStreamOptions {
  std::string dataset;
  std::string dataset_digest;  // As described: every loader must serve the same bytes.
  uint64_t seed = 1;
  MaskingPlan masking;
  int32_t max_seq_len = 128;
  sampling::RowFormat row_format = sampling::RowFormat::kPacked;
  int32_t vocab_size = 0;
  RowRange range;
  // Whole steps held ready; bounds the memory, together with the responses that the loader may have under way.
  int prefetch_steps = 4;
  // Of one response, about: large enough that its overhead is nothing, far below the message limit.
  int64_t response_bytes = 256 << 10;
  // The rank, so that ranks spread over the loaders: see LoaderOf.
  int first_loader = 0;
  // Silence of an open stream after which it is given up for another.
  absl::Duration stall_timeout = absl::Seconds(30);
  // How long NextStep waits altogether.
  absl::Duration give_up_after = absl::Minutes(8);
  // How long all loaders may call the dataset damaged before that is the job's end: another may be about to come back.
  absl::Duration damage_patience = absl::Seconds(30);
};

// Starts to prefetch in a thread of its own. A loader that fails, falls silent or sends something else than asked for
// is left for the next one, at the same step: a step is handed on only when all its rows are there, so a lost loader
// changes nothing in the rows. `loaders` and `credentials` must outlive the stream.
absl::StatusOr<std::unique_ptr<BatchSource>> OpenBatchStream(const LoaderList& loaders,
                                                             const CredentialFlags& credentials,
                                                             const BatchStreamOptions& options);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_BATCH_STREAM_H_
