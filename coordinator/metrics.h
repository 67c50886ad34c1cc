// The coordinator's Prometheus metrics. Label sets are fixed: states, RPC names, status codes.
#ifndef BERT_COORDINATOR_METRICS_H_
#define BERT_COORDINATOR_METRICS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bert/v1/jobs.pb.h"
#include "coordinator/state.h"

namespace prometheus {
class Counter;
class Histogram;
class Registry;
template <typename T>
class Family;
class Gauge;
}  // namespace prometheus

namespace bert::coordinator {

// Thread-safe.
class CoordinatorMetrics {
 public:
  CoordinatorMetrics();

  const std::shared_ptr<prometheus::Registry>& registry() const { return registry_; }

  // bert_coordinator_jobs{state}, _nodes{state}, _slots{state}, _loaders
  void SetState(const State& state, size_t loaders);
  // bert_coordinator_commits_total, _commit_failures_total, _commit_seconds
  void CountCommit(const absl::Status& status, absl::Duration duration);
  // bert_coordinator_rpc_requests_total{method,code}, _rpc_seconds{method}
  void CountRpc(const std::string& method, const absl::Status& status, absl::Duration duration);
  // bert_coordinator_training_ranks, _training_tokens_per_second, _training_mfu, _training_time_share{phase}
  void SetTraining(const std::vector<const v1::RankHealth*>& ranks);
  // bert_coordinator_skipped_steps_total
  void CountSkippedSteps(int64_t steps);

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Gauge>& jobs_;
  prometheus::Family<prometheus::Gauge>& nodes_;
  prometheus::Family<prometheus::Gauge>& slots_;
  prometheus::Gauge& loaders_;
  prometheus::Counter& commits_;
  prometheus::Counter& commit_failures_;
  prometheus::Histogram& commit_seconds_;
  prometheus::Family<prometheus::Counter>& rpc_requests_;
  prometheus::Family<prometheus::Histogram>& rpc_seconds_;
  prometheus::Gauge& training_ranks_;
  prometheus::Gauge& training_tokens_per_second_;
  prometheus::Gauge& training_mfu_;
  prometheus::Family<prometheus::Gauge>& training_time_share_;
  prometheus::Counter& skipped_steps_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_METRICS_H_
