// The arithmetic of AdamW on plain arrays, for one thread.
#ifndef BERT_WORKER_TRAINER_ADAMW_KERNEL_H_
#define BERT_WORKER_TRAINER_ADAMW_KERNEL_H_

#include <cstdint>

namespace bert::trainer {

// Everything that is the same for all elements of a step.
struct AdamWFactors {
  float gradient_scale = 1;
  float one_minus_beta1 = 0;
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float keep = 1;                // 1 - learning_rate * weight_decay, or 1 where nothing decays.
  float step_size = 0;           // learning_rate / (1 - beta1^step)
  float inverse_root_bias2 = 1;  // 1 / sqrt(1 - beta2^step)
  float epsilon = 0;
};

// The buffers must not overlap. `compute_bf16` (round to nearest even) may be null.
void AdamWUpdate(const AdamWFactors& factors, int64_t count, const float* grad, float* master, float* exp_avg,
                 float* exp_avg_sq, uint16_t* compute_bf16);

// Sum of squares in fp64.
double SumOfSquares(int64_t count, const float* values);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_ADAMW_KERNEL_H_
