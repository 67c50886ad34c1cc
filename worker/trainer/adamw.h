// AdamW (Loshchilov & Hutter 2019) over flat buffers, as torch.optim.AdamW computes it.
#ifndef BERT_WORKER_TRAINER_ADAMW_H_
#define BERT_WORKER_TRAINER_ADAMW_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/model/cuda/launcher.h"
#include "worker/model/parameters.h"
#include "worker/trainer/adamw_kernel.h"

namespace bert::trainer {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0.01;
};

// What one step needs besides the buffers.
struct AdamWStep {
  int64_t step = 1;  // 1-based, for the bias correction.
  double learning_rate = 0;
  double gradient_scale = 1;  // Multiplies every gradient: 1 / masked tokens, and clipping.
};

// Owns the moments, on the parameters' device. Not thread-safe.
//
// On the CPU and on CUDA devices one pass reads and writes everything, the bf16 copy included; elsewhere it is written
// in tensor operations. The result does not depend on the number of threads.
class AdamW {
 public:
  // `parameters` must outlive it.
  AdamW(model::Parameters* parameters, const AdamWOptions& options);

  // Updates master, its compute copy and the moments from `grad`, which stays as it is.
  void Step(const AdamWStep& step);

  // fp32 [n].
  at::Tensor& exp_avg() { return exp_avg_; }
  at::Tensor& exp_avg_sq() { return exp_avg_sq_; }

  // The same step in tensor operations, on any device.
  void StepByOperations(const AdamWStep& step);

 private:
  // Elements [begin, end) of the flat buffers.
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
    bool decay = false;
  };

  AdamWFactors FactorsOf(const AdamWStep& step) const;
  void StepOnCpu(const AdamWStep& step);
  void StepByKernel(const model::cuda::Launcher& launcher, const AdamWStep& step);

  model::Parameters* const parameters_;
  const AdamWOptions options_;
  std::vector<Range> ranges_;  // Ascending, without gaps; neighbours differ in decay.
  at::Tensor range_ends_;      // On the device: as cuda::AdamWArgs wants them.
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
};

// L2 norm of a flat fp32 buffer, summed in fp64 in an order that does not depend on the number of threads.
double GradientNorm(const at::Tensor& grad);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_ADAMW_H_
