// One rank of one generation, from rendezvous to the end.
#ifndef BERT_WORKER_TRAINER_TRAINER_H_
#define BERT_WORKER_TRAINER_TRAINER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/trainer/abrupt_end.h"
#include "worker/trainer/assignment.h"
#include "worker/trainer/batch_source.h"
#include "worker/trainer/coordinator.h"
#include "worker/trainer/dataset_description.h"
#include "worker/trainer/loader_list.h"

namespace bert::trainer {

// What the trainer has from outside. Borrows the pointers.
struct TrainerOptions {
  Assignment assignment;
  std::string checkpoint_root;
  std::string address = "127.0.0.1";  // At which the peers reach this rank.
  int threads = 0;                    // Of each operation; 0: Torch's choice.
  absl::Duration collective_timeout = absl::Minutes(10);
  Coordinator* coordinator = nullptr;
  LoaderList* loaders = nullptr;
  AbruptEnd* end = nullptr;
  // With rows of so many tokens, and of this digest unless it is empty.
  std::function<absl::StatusOr<DatasetDescription>(int32_t max_seq_len, const std::string& digest)> describe_dataset =
      nullptr;
  std::function<absl::StatusOr<std::unique_ptr<BatchSource>>(const DatasetDescription&, const RowRange&)> open_batches =
      nullptr;
};

// OK: trained to the end, or stopped as told. UNAVAILABLE: a peer is lost. Anything else is this rank's own failure.
absl::Status RunTrainer(const TrainerOptions& options);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_TRAINER_H_
