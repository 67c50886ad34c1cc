// The Coordinator over gRPC.
#ifndef BERT_WORKER_TRAINER_COORDINATOR_CLIENT_H_
#define BERT_WORKER_TRAINER_COORDINATOR_CLIENT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/coordinator.h"

namespace bert {
struct CredentialFlags;
}

namespace bert::trainer {

// Who calls.
struct RankIdentity {
  std::string job_id;
  int64_t generation = 0;
  int rank = 0;
  std::string node;
};

// INVALID_ARGUMENT or NOT_FOUND: `address` or the credentials cannot be used. Connects when first called.
absl::StatusOr<std::unique_ptr<Coordinator>> ConnectCoordinator(const std::string& address,
                                                                const CredentialFlags& credentials,
                                                                const RankIdentity& identity);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_COORDINATOR_CLIENT_H_
