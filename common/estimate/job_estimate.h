// What a job will need of each device, before it starts.
#ifndef BERT_COMMON_ESTIMATE_JOB_ESTIMATE_H_
#define BERT_COMMON_ESTIMATE_JOB_ESTIMATE_H_

#include <cstdint>

#include "common/estimate/model_shape.h"

namespace bert::estimate {

// What of a job its cost depends on. Every number is at least 1 but masked_share, in [0, 1].
struct JobShape {
  ModelShape model;
  bool bf16 = true;  // Else fp32 throughout.
  int64_t max_seq_len = 128;
  int64_t global_batch_size = 1;
  int64_t micro_batch_size = 1;
  int64_t world_size = 1;
  int64_t lanes = 0;  // Of a deterministic job; 0: it is not.
  double masked_share = 0.15;
};

// Bytes of rank 0 at its peak; the others do without `checkpoint`.
struct MemoryEstimate {
  double weights = 0;      // fp32 master.
  double bf16_copies = 0;  // What the model computes with.
  double gradients = 0;    // fp32, with those of the rank's lanes.
  double moments = 0;      // AdamW's two.
  double checkpoint = 0;   // The copy that is being written while training goes on.
  double activations = 0;  // Of one micro-batch, for the backward pass.
  double logits = 0;       // Of its masked tokens.
  double runtime = 0;      // Program, libraries, buffers of rows.

  double total() const {
    return weights + bf16_copies + gradients + moments + checkpoint + activations + logits + runtime;
  }
};

MemoryEstimate EstimateMemory(const JobShape& job);

struct DeviceRates {
  double flops = 0;             // A second, of large matrix products in the job's precision: what a trainer measures.
  double bytes_per_second = 0;  // Read and written.
};

// Seconds of a step whose rows are full, without waiting for rows, other ranks or checkpoints: products at most of the
// device's rate, and what only goes through memory at its speed. Ranks share the rows evenly.
double EstimateStepSeconds(const JobShape& job, const DeviceRates& device);

// Of a whole step, over all ranks; see TrainFlops.
double StepFlops(const JobShape& job);

}  // namespace bert::estimate

#endif  // BERT_COMMON_ESTIMATE_JOB_ESTIMATE_H_
