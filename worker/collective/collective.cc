#include "worker/collective/collective.h"

#include "absl/strings/str_cat.h"
#include "worker/collective/gloo_collective.h"
#include "worker/collective/solo_collective.h"
#ifdef BERT_CUDA
#include "worker/collective/nccl_collective.h"
#endif

namespace bert::collective {

absl::StatusOr<std::unique_ptr<Collective>> Connect(const ConnectOptions& options) {
  if (options.world_size < 1 || options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", options.rank, " of ", options.world_size));
  }
  if (options.world_size == 1) return std::make_unique<SoloCollective>();
  if (options.backend == Backend::kGloo) return ConnectGloo(options);
#ifdef BERT_CUDA
  return ConnectNccl(options);
#else
  return absl::InvalidArgumentError("this build has no NCCL; build preset cuda");
#endif
}

}  // namespace bert::collective
