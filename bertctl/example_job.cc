#include "bertctl/example_job.h"

namespace bert::ctl {

absl::Time ExampleNow() { return absl::FromUnixSeconds(1767323045); }

google::protobuf::Timestamp ExampleTime(absl::Duration before_now) {
  google::protobuf::Timestamp time;
  time.set_seconds(absl::ToUnixSeconds(ExampleNow() - before_now));
  return time;
}

v1::Job ExampleJob() {
  v1::Job job;
  job.set_id("tiny-english-ab12c");
  job.mutable_spec()->set_name("tiny-english");
  job.mutable_spec()->mutable_model()->set_norm(v1::NORM_PLACEMENT_PRE_LN);
  job.mutable_spec()->mutable_train()->set_steps(600);
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_reason("2 ranks train");
  job.set_user("ada");
  *job.mutable_submit_time() = ExampleTime(absl::Minutes(5));
  *job.mutable_start_time() = ExampleTime(absl::Seconds(192));
  job.set_generation(2);
  job.set_restarts(1);
  for (int rank = 0; rank < 2; ++rank) {
    v1::RankPlacement& placement = *job.add_ranks();
    placement.set_rank(rank);
    placement.set_node("node-a");
    placement.set_slot(rank);
  }
  v1::StepMetrics& step = *job.mutable_last_step();
  step.set_step(240);
  step.set_loss(5.12341);
  step.set_learning_rate(6.67e-4);
  step.set_grad_norm(1.25);
  step.set_tokens_per_second(8342.6);
  step.set_epoch(1.5);
  *step.mutable_time() = ExampleTime(absl::Seconds(1));
  v1::ValidationMetrics& validation = *job.mutable_last_validation();
  validation.set_step(200);
  validation.set_loss(5.25);
  validation.set_perplexity(190.566);
  validation.set_accuracy(0.2134);
  validation.set_masked_tokens(4915);
  job.set_checkpoint_step(200);
  v1::Failure& failure = *job.mutable_root_cause();
  failure.set_generation(1);
  failure.set_rank(1);
  failure.set_node("node-a");
  failure.set_cause("rank 1 on node node-a was killed by signal 9 (SIGKILL)");
  *failure.mutable_time() = ExampleTime(absl::Minutes(2));
  failure.add_log_tail("step=130 loss=6.01");
  failure.add_log_tail("\x1b[31mcoloured");
  return job;
}

}  // namespace bert::ctl
