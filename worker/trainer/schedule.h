// The learning rate of each step.
#ifndef BERT_WORKER_TRAINER_SCHEDULE_H_
#define BERT_WORKER_TRAINER_SCHEDULE_H_

#include <cstdint>

namespace bert::trainer {

// Linear warmup from 0 to `peak` over the first warmup_steps steps, then linear decay to 0 at the last of total_steps.
struct Schedule {
  double peak = 0;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;

  // Of step 1, 2, ..., total_steps. Step warmup_steps has the peak; with warmup_steps 0 the decay begins below it.
  // A warmup as long as the training only rises.
  double LearningRate(int64_t step) const;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_SCHEDULE_H_
