// NCCL, by its C interface. CUDA tensors on the current device.
#ifndef BERT_WORKER_COLLECTIVE_NCCL_COLLECTIVE_H_
#define BERT_WORKER_COLLECTIVE_NCCL_COLLECTIVE_H_

#include <memory>

#include "worker/collective/collective.h"

namespace bert::collective {

// As Connect. The communicator is non-blocking: the host waits with a deadline and aborts it, where NCCL itself would
// wait without end for a peer that is gone.
absl::StatusOr<std::unique_ptr<Collective>> ConnectNccl(const ConnectOptions& options);

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_NCCL_COLLECTIVE_H_
