#include "worker/collective/gloo_collective.h"

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "worker/collective/exceptions.h"
#include "worker/collective/store_client.h"

namespace bert::collective {
namespace {

// Opens the connections to Abort.
class Group : public c10d::ProcessGroupGloo {
 public:
  using c10d::ProcessGroupGloo::ProcessGroupGloo;

  void CloseConnections() {
    for (const auto& context : contexts_) context->closeConnections();
  }
};

class GlooCollective : public Collective {
 public:
  GlooCollective(const ConnectOptions& options, c10::intrusive_ptr<Group> group)
      : rank_(options.rank), world_size_(options.world_size), group_(std::move(group)) {}

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }

  absl::Status AllReduceSum(at::Tensor tensor) override {
    return Run("all-reduce", [&] {
      std::vector<at::Tensor> tensors = {tensor};
      return group_->allreduce(tensors);
    });
  }

  absl::Status Broadcast(at::Tensor tensor, int root) override {
    return Run("broadcast", [&] {
      std::vector<at::Tensor> tensors = {tensor};
      c10d::BroadcastOptions options;
      options.rootRank = root;
      return group_->broadcast(tensors, options);
    });
  }

  absl::Status AllGather(const at::Tensor& input, at::Tensor output) override {
    return Run("all-gather", [&] {
      std::vector<at::Tensor> inputs = {input};
      std::vector<std::vector<at::Tensor>> outputs = {output.view({world_size_, -1}).unbind(0)};
      return group_->allgather(outputs, inputs);
    });
  }

  absl::Status Barrier() override {
    return Run("barrier", [&] { return group_->barrier(); });
  }

  void Abort() override {
    {
      MutexLock lock(&mutex_);
      if (broken_.ok()) broken_ = absl::CancelledError("the group was aborted");
      changed_.SignalAll();
    }
    CatchPeerLost("abort", [&] { group_->CloseConnections(); }).IgnoreError();
  }

 private:
  // Closing the connections does not wake Gloo's own wait, so this one waits for the end of the work or of the group.
  template <typename Start>
  absl::Status Run(absl::string_view what, Start start) {
    int64_t number = 0;
    {
      MutexLock lock(&mutex_);
      RETURN_IF_ERROR(broken_);
      number = ++started_;
    }
    c10::intrusive_ptr<c10d::Work> work;
    absl::Status status = CatchPeerLost(absl::StrCat("peer lost in ", what), [&] {
      work = start();
      work->getFuture()->addCallback([this, number](c10::ivalue::Future&) {
        MutexLock lock(&mutex_);
        finished_ = number;
        changed_.SignalAll();
      });
    });
    {
      MutexLock lock(&mutex_);
      while (status.ok() && broken_.ok() && finished_ != number) changed_.Wait(&mutex_);
      RETURN_IF_ERROR(broken_);
    }
    if (status.ok()) status = CatchPeerLost(absl::StrCat("peer lost in ", what), [&] { work->wait(); });
    MutexLock lock(&mutex_);
    if (broken_.ok()) broken_ = status;
    return broken_;
  }

  const int rank_;
  const int world_size_;
  Mutex mutex_;
  CondVar changed_;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  int64_t started_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t finished_ ABSL_GUARDED_BY(mutex_) = 0;
  // Last, so that its thread, which runs the callbacks, ends first.
  const c10::intrusive_ptr<Group> group_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> ConnectGloo(const ConnectOptions& options) {
  const auto gloo = c10d::ProcessGroupGloo::Options::create(absl::ToChronoMilliseconds(options.timeout));
  // One call is under way at a time.
  gloo->threads = 1;
  // Of this machine alone: no peer is to blame.
  RETURN_IF_ERROR(
      CatchExceptions(absl::StatusCode::kFailedPrecondition, absl::StrCat("cannot use --address ", options.address),
                      [&] { gloo->devices = {c10d::ProcessGroupGloo::createDeviceForHostname(options.address)}; }));
  ASSIGN_OR_RETURN(const auto store, ConnectToStore(options.store_address, options.timeout));
  c10::intrusive_ptr<Group> group;
  RETURN_IF_ERROR(CatchPeerLost("peer lost while connecting", [&] {
    group = c10::make_intrusive<Group>(store, options.rank, options.world_size, gloo);
  }));
  return std::make_unique<GlooCollective>(options, std::move(group));
}

}  // namespace bert::collective
