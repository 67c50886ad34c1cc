// What the ranks of one generation do together.
#ifndef BERT_WORKER_COLLECTIVE_COLLECTIVE_H_
#define BERT_WORKER_COLLECTIVE_COLLECTIVE_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/collective/store.h"

namespace bert::collective {

// A group of ranks that call the same functions in the same order with tensors of the same shape and type.
//
// Tensors are contiguous fp32, fp64 or int64 on the group's device; results are complete when a call returns. Not
// thread-safe, except Abort. The process must ignore SIGPIPE.
//
// Errors: UNAVAILABLE "peer lost": another rank is gone, or did not come within the group's timeout. INTERNAL: this
// rank's own device has failed. The group is broken then and every later call returns the same error.
class Collective {
 public:
  // After an Abort in the middle of a call, waits for Gloo's own thread: at most the group's timeout.
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // In place, element by element over all ranks. Every rank gets the same bits.
  virtual absl::Status AllReduceSum(at::Tensor tensor) = 0;
  // In place, from `root` to all.
  virtual absl::Status Broadcast(at::Tensor tensor, int root) = 0;
  // `input` [n] of every rank into `output` [world_size * n], in the order of ranks.
  virtual absl::Status AllGather(const at::Tensor& input, at::Tensor output) = 0;
  virtual absl::Status Barrier() = 0;

  // Breaks the group: a call under way in another thread returns an error soon, as do those of the peers. May be
  // called from any thread, any number of times.
  virtual void Abort() = 0;
};

enum class Backend {
  kGloo,  // CPU tensors, TCP.
  kNccl,  // CUDA tensors on the current device; only in builds with CUDA.
};

struct ConnectOptions {
  int rank = 0;
  int world_size = 1;
  Backend backend = Backend::kGloo;
  // Of this machine: the peers reach this rank there. IP address or host name.
  std::string address = "127.0.0.1";
  // "host:port" of rank 0's Store.
  std::string store_address = {};
  // For connecting and for each call.
  absl::Duration timeout = absl::Minutes(10);
};

// Connects to all other ranks; returns when all are connected. Rank 0's Store must outlive the call everywhere.
// UNAVAILABLE: a rank did not come in time. FAILED_PRECONDITION: `address` cannot be used on this machine. INTERNAL:
// this rank's device has failed. INVALID_ARGUMENT: this build has no such backend. With one rank nothing is connected
// and the store is not used.
absl::StatusOr<std::unique_ptr<Collective>> Connect(const ConnectOptions& options);

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_COLLECTIVE_H_
