// The gradient of one step over all ranks.
#ifndef BERT_WORKER_TRAINER_GRADIENT_H_
#define BERT_WORKER_TRAINER_GRADIENT_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "dataloader/sampling/row_batch.h"
#include "worker/collective/collective.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/gradient_buckets.h"
#include "worker/trainer/row_split.h"
#include "worker/trainer/step_time.h"

namespace bert::trainer {

// Sums over the whole global batch; the same on every rank.
struct StepTotals {
  double nll = 0;  // Of all masked tokens, in nats.
  int64_t masked_tokens = 0;
  int64_t tokens = 0;
  // Of all rows' next-sentence labels, in nats; 0 for a model without that head.
  double next_sentence_nll = 0;
  // Some rank was told to stop.
  bool stop = false;
};

struct GradientOptions {
  int32_t global_batch_size = 1;
  int32_t micro_batch_size = 1;
  int32_t max_seq_len = 128;
  uint64_t seed = 1;
  // 16 MB: the network's latency is nothing beside it, and the last bucket, which overlaps with nothing, is short.
  GradientBuckets::Options buckets = {.bucket_elements = 1 << 22};
};

// Not thread-safe.
class GradientComputer {
 public:
  virtual ~GradientComputer() = default;

  // This rank's rows of every global batch.
  virtual Part rows() const = 0;

  // Leaves in the model's `grad` the sum, over the masked tokens of all ranks, of the gradient of the negative
  // log-likelihood, from `batch`: this rank's rows of step number `step` (0-based). Nothing is divided. With a
  // next-sentence head the ranks first agree on the count of masked tokens, M, and the sum over all R rows of that
  // loss's gradient is added M / R times: dividing by M gives the gradient of the mean over masked tokens plus the mean
  // over rows, however rows are cut. UNAVAILABLE: a peer is lost.
  virtual absl::StatusOr<StepTotals> Compute(int64_t step, const sampling::RowBatch& batch, bool stop) = 0;
};

// Each rank sums over its rows, then all ranks together (GradientBuckets). Sums differ in their last bits with the
// number of ranks. The pointers must outlive it.
std::unique_ptr<GradientComputer> MakeFlatGradient(model::MaskedLm* model, collective::Collective* group,
                                                   StepTime* time, const GradientOptions& options);

// The same bits at any number of ranks up to `lanes`: the batch is cut into `lanes` lanes, each lane's gradient is
// computed alone, and the lanes are summed in one fixed binary tree on every rank. Holds a gradient for each of its
// lanes.
std::unique_ptr<GradientComputer> MakeLaneGradient(model::MaskedLm* model, collective::Collective* group,
                                                   StepTime* time, const GradientOptions& options, int lanes);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_GRADIENT_H_
