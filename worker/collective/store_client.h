// A rank's connection to rank 0's Store. For this folder only.
#ifndef BERT_WORKER_COLLECTIVE_STORE_CLIENT_H_
#define BERT_WORKER_COLLECTIVE_STORE_CLIENT_H_

#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bert::collective {

// UNAVAILABLE where no store answers at `address` ("host:port") within `timeout`.
absl::StatusOr<c10::intrusive_ptr<c10d::TCPStore>> ConnectToStore(const std::string& address, absl::Duration timeout);

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_STORE_CLIENT_H_
