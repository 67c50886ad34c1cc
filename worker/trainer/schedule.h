// The learning rate of each step.
#ifndef BERT_WORKER_TRAINER_SCHEDULE_H_
#define BERT_WORKER_TRAINER_SCHEDULE_H_

#include <cstdint>

namespace bert::trainer {

enum class Decay { kLinear, kCosine, kConstant };

// Linear warmup from 0 to `peak` over the first warmup_steps steps, then decay to final_share * peak at the last of
// total_steps: in a straight line, in half a period of the cosine (Loshchilov & Hutter 2016, without restarts), or none
// at all.
struct Schedule {
  double peak = 0;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  Decay decay = Decay::kLinear;
  double final_share = 0;

  // Of step 1, 2, ..., total_steps. Step warmup_steps has the peak; with warmup_steps 0 the decay begins below it.
  // A warmup as long as the training only rises.
  double LearningRate(int64_t step) const;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_SCHEDULE_H_
