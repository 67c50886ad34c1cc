// Updates and specs for tests, each in one line.
#ifndef BERT_COORDINATOR_TEST_UPDATES_H_
#define BERT_COORDINATOR_TEST_UPDATES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/state.h"

namespace bert::coordinator {

// A complete enough spec: the state reads nothing else.
inline v1::JobSpec TestSpec(int32_t min, int32_t max, int32_t priority = 0) {
  v1::JobSpec spec;
  spec.set_name("job");
  spec.set_priority(priority);
  spec.mutable_workers()->set_min(min);
  spec.mutable_workers()->set_max(max);
  spec.mutable_checkpoint()->set_keep_last(2);
  spec.mutable_restarts()->set_max_without_progress(3);
  spec.mutable_restarts()->set_max(100);
  return spec;
}

inline Update Submitted(const std::string& job, const v1::JobSpec& spec, const std::string& request_id = "") {
  Update update;
  update.set_time_us(1);
  auto& submitted = *update.mutable_job_submitted();
  submitted.set_job_id(job);
  *submitted.mutable_spec() = spec;
  submitted.set_user("anonymous");
  submitted.set_request_id(request_id);
  return update;
}

inline Update CancelRequested(const std::string& job) {
  Update update;
  update.set_time_us(2);
  update.mutable_job_cancel_requested()->set_job_id(job);
  return update;
}

// Ranks in the given (node, slot) order.
inline Update Started(const std::string& job, int64_t generation,
                      const std::vector<std::pair<std::string, int32_t>>& slots) {
  Update update;
  update.set_time_us(3);
  auto& started = *update.mutable_generation_started();
  started.set_job_id(job);
  started.set_generation(generation);
  for (const auto& [node, slot] : slots) {
    v1::RankPlacement& placement = *started.add_ranks();
    placement.set_rank(started.ranks_size() - 1);
    placement.set_node(node);
    placement.set_slot(slot);
  }
  return update;
}

inline Update Formed(const std::string& job, int64_t generation) {
  Update update;
  update.set_time_us(4);
  auto& formed = *update.mutable_generation_formed();
  formed.set_job_id(job);
  formed.set_generation(generation);
  formed.set_store_address("127.0.0.1:1");
  return update;
}

inline Update RankGone(const std::string& job, int64_t generation, int32_t rank, int32_t exit_code = 0,
                       int32_t signal = 0) {
  Update update;
  update.set_time_us(5);
  auto& ended = *update.mutable_rank_ended();
  ended.set_job_id(job);
  ended.set_generation(generation);
  ended.set_rank(rank);
  ended.set_exit_code(exit_code);
  ended.set_signal(signal);
  return update;
}

inline Update Failed(const std::string& job, int64_t generation, const std::string& cause = "it broke",
                     bool secondary = false, int64_t not_before_us = 0) {
  Update update;
  update.set_time_us(6);
  auto& failed = *update.mutable_generation_failed();
  failed.set_job_id(job);
  failed.set_generation(generation);
  failed.mutable_failure()->set_generation(generation);
  failed.mutable_failure()->set_cause(cause);
  failed.set_secondary(secondary);
  failed.set_not_before_us(not_before_us);
  return update;
}

inline Update Amended(const std::string& job, int64_t generation, const std::string& cause) {
  Update update;
  update.set_time_us(7);
  auto& amended = *update.mutable_failure_amended();
  amended.set_job_id(job);
  amended.set_generation(generation);
  amended.mutable_failure()->set_generation(generation);
  amended.mutable_failure()->set_cause(cause);
  return update;
}

inline Update Ended(const std::string& job, v1::JobState state, const std::string& reason = "") {
  Update update;
  update.set_time_us(8);
  auto& ended = *update.mutable_job_ended();
  ended.set_job_id(job);
  ended.set_state(state);
  ended.set_reason(reason);
  return update;
}

inline Update Committed(const std::string& job, int64_t generation, int64_t step,
                        const std::vector<int64_t>& dropped = {}) {
  Update update;
  update.set_time_us(9);
  auto& committed = *update.mutable_checkpoint_committed();
  v1::Checkpoint& checkpoint = *committed.mutable_checkpoint();
  checkpoint.set_job_id(job);
  checkpoint.set_generation(generation);
  checkpoint.set_step(step);
  checkpoint.set_directory("/checkpoints/" + job + "/step-" + std::to_string(step));
  checkpoint.set_digest("xxh128:" + std::to_string(step));
  for (const int64_t old : dropped) committed.add_dropped_steps(old);
  return update;
}

inline Update Registered(const std::string& node, const std::string& incarnation, int slots) {
  Update update;
  update.set_time_us(10);
  auto& registered = *update.mutable_node_registered();
  registered.set_node(node);
  registered.set_incarnation(incarnation);
  for (int i = 0; i < slots; ++i) {
    v1::Slot& slot = *registered.add_slots();
    slot.set_index(i);
    slot.set_device(v1::DEVICE_KIND_CPU);
  }
  registered.set_address("127.0.0.1");
  return update;
}

inline Update Lost(const std::string& node, const std::string& incarnation) {
  Update update;
  update.set_time_us(11);
  auto& lost = *update.mutable_node_lost();
  lost.set_node(node);
  lost.set_incarnation(incarnation);
  lost.set_reason("no heartbeat for 3s");
  return update;
}

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_TEST_UPDATES_H_
