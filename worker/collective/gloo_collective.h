// Gloo over TCP, through c10d: the gloo inside libtorch_cpu. CPU tensors.
#ifndef BERT_WORKER_COLLECTIVE_GLOO_COLLECTIVE_H_
#define BERT_WORKER_COLLECTIVE_GLOO_COLLECTIVE_H_

#include <memory>

#include "worker/collective/collective.h"

namespace bert::collective {

// As Connect.
absl::StatusOr<std::unique_ptr<Collective>> ConnectGloo(const ConnectOptions& options);

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_GLOO_COLLECTIVE_H_
