// A group of one rank: nothing to exchange.
#ifndef BERT_WORKER_COLLECTIVE_SOLO_COLLECTIVE_H_
#define BERT_WORKER_COLLECTIVE_SOLO_COLLECTIVE_H_

#include "worker/collective/collective.h"

namespace bert::collective {

class SoloCollective : public Collective {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  absl::Status AllReduceSum(at::Tensor) override { return absl::OkStatus(); }
  absl::Status Broadcast(at::Tensor, int) override { return absl::OkStatus(); }
  absl::Status AllGather(const at::Tensor& input, at::Tensor output) override {
    output.copy_(input);
    return absl::OkStatus();
  }
  absl::Status Barrier() override { return absl::OkStatus(); }
  void Abort() override {}
};

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_SOLO_COLLECTIVE_H_
