// Asks the dataloaders about a dataset.
#ifndef BERT_WORKER_TRAINER_DATASET_CLIENT_H_
#define BERT_WORKER_TRAINER_DATASET_CLIENT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "dataloader/sampling/row_format.h"
#include "worker/trainer/dataset_description.h"
#include "worker/trainer/loader_list.h"

namespace bert {
struct CredentialFlags;
}

namespace bert::trainer {

struct DatasetQuery {
  std::string dataset;
  std::string digest;  // Empty: any.
  int32_t max_seq_len = 128;
  sampling::RowFormat row_format = sampling::RowFormat::kPacked;
};

// Asks one loader after the other, again and again until `timeout`. DEADLINE_EXCEEDED: none answered. NOT_FOUND,
// FAILED_PRECONDITION (another digest), DATA_LOSS: no loader can serve the dataset.
absl::StatusOr<DatasetDescription> DescribeDataset(const LoaderList& loaders, const CredentialFlags& credentials,
                                                   const DatasetQuery& query, absl::Duration timeout);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_DATASET_CLIENT_H_
