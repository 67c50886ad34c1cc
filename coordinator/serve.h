// What every unary RPC of the coordinator does around its work.
#ifndef BERT_COORDINATOR_SERVE_H_
#define BERT_COORDINATOR_SERVE_H_

#include <spdlog/spdlog.h>

#include <exception>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/metrics.h"

namespace bert::coordinator {

// Answers with what `handler` returns (an absl::StatusOr<Response>), counts it, and lets no exception out.
template <typename Response, typename Handler>
grpc::Status Serve(CoordinatorMetrics& metrics, const char* method, Response* response, Handler handler) {
  const absl::Time start = absl::Now();
  absl::StatusOr<Response> result = absl::UnknownError("");
  try {
    result = handler();
  } catch (const std::exception& e) {
    result = absl::InternalError(absl::StrCat(method, ": ", e.what()));
  }
  metrics.CountRpc(method, result.status(), absl::Now() - start);
  if (!result.ok()) {
    if (absl::IsInternal(result.status())) spdlog::error("{}", result.status().ToString());
    return ToGrpc(result.status());
  }
  *response = *std::move(result);
  return grpc::Status::OK;
}

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_SERVE_H_
