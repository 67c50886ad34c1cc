#include "worker/collective/nccl_collective.h"

#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "worker/collective/exceptions.h"
#include "worker/collective/store_client.h"

namespace bert::collective {
namespace {

constexpr char kUniqueIdKey[] = "nccl-unique-id";
// For what is still under way when an unbroken group ends. A peer that has failed does not come to it.
constexpr absl::Duration kFinalizeTimeout = absl::Seconds(10);

absl::Status FromCuda(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

ncclDataType_t NcclType(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    default:
      BERT_CHECK(false) << "collectives take fp32, fp64 and int64, not " << c10::toString(tensor.scalar_type());
      return ncclInt8;
  }
}

class NcclCollective : public Collective {
 public:
  NcclCollective(const ConnectOptions& options) : options_(options) {}

  ~NcclCollective() override {
    Finalize();
    Abort();
    if (done_ != nullptr) cudaEventDestroy(done_);
  }

  absl::Status Initialize() {
    RETURN_IF_ERROR(FromCuda(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "cannot create a CUDA event"));
    ASSIGN_OR_RETURN(const auto store, ConnectToStore(options_.store_address, options_.timeout));
    ncclUniqueId id = {};
    if (options_.rank == 0) {
      if (const ncclResult_t result = ncclGetUniqueId(&id); result != ncclSuccess) {
        return absl::InternalError(absl::StrCat("ncclGetUniqueId: ", ncclGetErrorString(result)));
      }
    }
    RETURN_IF_ERROR(CatchPeerLost("peer lost while connecting", [&] {
      if (options_.rank == 0) {
        store->set(kUniqueIdKey, std::vector<uint8_t>(id.internal, id.internal + sizeof id.internal));
      } else {
        const std::vector<uint8_t> bytes = store->get(kUniqueIdKey);
        BERT_CHECK(bytes.size() == sizeof id.internal) << bytes.size();
        std::memcpy(id.internal, bytes.data(), bytes.size());
      }
    }));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t started = ncclCommInitRankConfig(&comm_, options_.world_size, id, options_.rank, &config);
    return AwaitEnqueued("connecting", started, absl::Now() + options_.timeout);
  }

  int rank() const override { return options_.rank; }
  int world_size() const override { return options_.world_size; }

  absl::Status AllReduceSum(at::Tensor tensor) override {
    return Run("all-reduce", [&](cudaStream_t stream) {
      return ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(), NcclType(tensor), ncclSum, comm_,
                           stream);
    });
  }

  absl::Status Broadcast(at::Tensor tensor, int root) override {
    return Run("broadcast", [&](cudaStream_t stream) {
      return ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(), NcclType(tensor), root, comm_, stream);
    });
  }

  absl::Status AllGather(const at::Tensor& input, at::Tensor output) override {
    return Run("all-gather", [&](cudaStream_t stream) {
      return ncclAllGather(input.data_ptr(), output.data_ptr(), input.numel(), NcclType(input), comm_, stream);
    });
  }

  absl::Status Barrier() override { return AllReduceSum(at::zeros({1}, at::device(at::kCUDA).dtype(at::kFloat))); }

  // Only marks the group: the thread that waits for NCCL sees it at its next look and aborts the communicator, which
  // no two threads may do.
  void Abort() override {
    aborted_ = true;
    if (!waiting_.exchange(true)) {
      AbortCommunicator();
      waiting_ = false;
    }
  }

 private:
  // An abort would drop what other ranks have not yet taken.
  void Finalize() {
    if (comm_ == nullptr || aborted_) return;
    const absl::Time deadline = absl::Now() + kFinalizeTimeout;
    ncclResult_t result = ncclCommFinalize(comm_);
    while (result == ncclInProgress && absl::Now() < deadline) {
      std::this_thread::yield();
      if (ncclCommGetAsyncError(comm_, &result) != ncclSuccess) return;
    }
    if (result == ncclSuccess) ncclCommDestroy(std::exchange(comm_, nullptr));
  }

  void AbortCommunicator() {
    if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
  }

  absl::Status Broken(absl::Status why) {
    AbortCommunicator();
    broken_ = std::move(why);
    return broken_;
  }

  absl::Status PeerLost(absl::string_view what, absl::string_view why) {
    return Broken(absl::UnavailableError(absl::StrCat("peer lost in ", what, ": ", why)));
  }

  // The coordinator looks for the cause of a lost peer elsewhere, so what went wrong here must not be called one.
  absl::Status FailedHere(absl::string_view what, absl::string_view why) {
    return Broken(absl::InternalError(absl::StrCat(what, " failed on this device: ", why)));
  }

  absl::Status FromNccl(absl::string_view what, ncclResult_t result) {
    const char* const why = ncclGetErrorString(result);
    // A system error is what a connection gives whose other end has died.
    const bool remote = result == ncclRemoteError || result == ncclSystemError;
    return remote ? PeerLost(what, why) : FailedHere(what, why);
  }

  // A call on a non-blocking communicator may return before it has put its kernel on the stream.
  absl::Status AwaitEnqueued(absl::string_view what, ncclResult_t result, absl::Time deadline) {
    while (result == ncclInProgress) {
      if (aborted_) return PeerLost(what, "the group was aborted");
      if (absl::Now() > deadline) return PeerLost(what, "no answer within the timeout");
      std::this_thread::yield();
      if (ncclCommGetAsyncError(comm_, &result) != ncclSuccess) return FailedHere(what, "cannot read NCCL's state");
    }
    if (result == ncclSuccess) return absl::OkStatus();
    return FromNccl(what, result);
  }

  absl::Status AwaitDone(absl::string_view what, absl::Time deadline) {
    while (true) {
      const cudaError_t state = cudaEventQuery(done_);
      if (state == cudaSuccess) return absl::OkStatus();
      if (state != cudaErrorNotReady) return FailedHere(what, cudaGetErrorString(state));
      ncclResult_t result = ncclSuccess;
      if (ncclCommGetAsyncError(comm_, &result) != ncclSuccess) return FailedHere(what, "cannot read NCCL's state");
      if (result != ncclSuccess && result != ncclInProgress) return FromNccl(what, result);
      if (aborted_) return PeerLost(what, "the group was aborted");
      if (absl::Now() > deadline) return PeerLost(what, "no answer within the timeout");
      std::this_thread::yield();
    }
  }

  template <typename Start>
  absl::Status Run(absl::string_view what, Start start) {
    RETURN_IF_ERROR(broken_);
    if (waiting_.exchange(true)) return absl::CancelledError("the group was aborted");
    absl::Status status = aborted_ ? PeerLost(what, "the group was aborted") : StartAndWait(what, start);
    waiting_ = false;
    return status;
  }

  template <typename Start>
  absl::Status StartAndWait(absl::string_view what, Start start) {
    const absl::Time deadline = absl::Now() + options_.timeout;
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
    RETURN_IF_ERROR(AwaitEnqueued(what, start(stream), deadline));
    RETURN_IF_ERROR(FromCuda(cudaEventRecord(done_, stream), "cannot record a CUDA event"));
    return AwaitDone(what, deadline);
  }

  const ConnectOptions options_;
  ncclComm_t comm_ = nullptr;
  cudaEvent_t done_ = nullptr;
  absl::Status broken_;
  std::atomic<bool> aborted_ = false;
  // Held by whoever uses comm_.
  std::atomic<bool> waiting_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> ConnectNccl(const ConnectOptions& options) {
  auto collective = std::make_unique<NcclCollective>(options);
  RETURN_IF_ERROR(collective->Initialize());
  return collective;
}

}  // namespace bert::collective
