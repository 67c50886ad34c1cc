// absl::Status to gRPC's and back; the codes are the same numbers.
#ifndef BERT_COMMON_RPC_STATUS_CONVERSION_H_
#define BERT_COMMON_RPC_STATUS_CONVERSION_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace bert {

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace bert

#endif  // BERT_COMMON_RPC_STATUS_CONVERSION_H_
