#include "coordinator/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <map>

#include "absl/strings/ascii.h"

namespace bert::coordinator {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

prometheus::Histogram::BucketBoundaries SecondsBuckets() {
  return {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5};
}

constexpr std::array kJobStates = {v1::JOB_STATE_PENDING,    v1::JOB_STATE_STARTING,  v1::JOB_STATE_RUNNING,
                                   v1::JOB_STATE_CANCELLING, v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED,
                                   v1::JOB_STATE_CANCELLED};

struct Phase {
  const char* name;
  double (*share)(const v1::TimeShares&);
};
constexpr std::array<Phase, 6> kPhases = {{
    {"data_wait", [](const v1::TimeShares& shares) { return shares.data_wait(); }},
    {"compute", [](const v1::TimeShares& shares) { return shares.compute(); }},
    {"all_reduce", [](const v1::TimeShares& shares) { return shares.all_reduce(); }},
    {"optimizer", [](const v1::TimeShares& shares) { return shares.optimizer(); }},
    {"checkpoint", [](const v1::TimeShares& shares) { return shares.checkpoint(); }},
    {"validation", [](const v1::TimeShares& shares) { return shares.validation(); }},
}};

}  // namespace

CoordinatorMetrics::CoordinatorMetrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      jobs_(BuildGauge().Name("bert_coordinator_jobs").Help("Jobs by state.").Register(*registry_)),
      nodes_(BuildGauge().Name("bert_coordinator_nodes").Help("Nodes by state.").Register(*registry_)),
      slots_(BuildGauge()
                 .Name("bert_coordinator_slots")
                 .Help("Slots of ready nodes, free or held by a rank.")
                 .Register(*registry_)),
      loaders_(BuildGauge()
                   .Name("bert_coordinator_loaders")
                   .Help("Dataloaders that heartbeat.")
                   .Register(*registry_)
                   .Add({})),
      commits_(BuildCounter()
                   .Name("bert_coordinator_commits_total")
                   .Help("Batches of updates made durable.")
                   .Register(*registry_)
                   .Add({})),
      commit_failures_(BuildCounter()
                           .Name("bert_coordinator_commit_failures_total")
                           .Help("Batches of updates that the journal could not write.")
                           .Register(*registry_)
                           .Add({})),
      commit_seconds_(BuildHistogram()
                          .Name("bert_coordinator_commit_seconds")
                          .Help("Time to make a batch of updates durable.")
                          .Register(*registry_)
                          .Add({}, SecondsBuckets())),
      rpc_requests_(BuildCounter()
                        .Name("bert_coordinator_rpc_requests_total")
                        .Help("Calls answered, by method and status code.")
                        .Register(*registry_)),
      rpc_seconds_(BuildHistogram()
                       .Name("bert_coordinator_rpc_seconds")
                       .Help("Time from a call's arrival to its answer, by method.")
                       .Register(*registry_)),
      training_ranks_(BuildGauge()
                          .Name("bert_coordinator_training_ranks")
                          .Help("Ranks that have told of a step.")
                          .Register(*registry_)
                          .Add({})),
      training_tokens_per_second_(BuildGauge()
                                      .Name("bert_coordinator_training_tokens_per_second")
                                      .Help("Real tokens a second, over all ranks of all jobs.")
                                      .Register(*registry_)
                                      .Add({})),
      training_mfu_(BuildGauge()
                        .Name("bert_coordinator_training_mfu")
                        .Help("Model FLOP/s over what the device could do, the mean over ranks where it is known.")
                        .Register(*registry_)
                        .Add({})),
      training_time_share_(BuildGauge()
                               .Name("bert_coordinator_training_time_share")
                               .Help("Share of the ranks' wall time, the mean over them, by phase.")
                               .Register(*registry_)),
      skipped_steps_(BuildCounter()
                         .Name("bert_coordinator_skipped_steps_total")
                         .Help("Steps whose loss or gradient was not finite, so that they changed nothing.")
                         .Register(*registry_)
                         .Add({})) {
  SetTraining({});
}

void CoordinatorMetrics::SetState(const State& state, size_t loaders) {
  std::map<v1::JobState, int64_t> jobs;
  for (const auto& [id, job] : state.jobs()) ++jobs[job.state()];
  for (const v1::JobState job_state : kJobStates) {
    jobs_.Add({{"state", absl::AsciiStrToLower(StateName(job_state))}}).Set(static_cast<double>(jobs[job_state]));
  }
  int64_t ready = 0;
  int64_t lost = 0;
  int64_t free = 0;
  int64_t used = 0;
  for (const auto& [name, node] : state.nodes()) {
    if (node.lost()) {
      ++lost;
      continue;
    }
    ++ready;
    const int64_t held = static_cast<int64_t>(state.HeldSlots(name).size());
    used += held;
    free += node.slots_size() - held;
  }
  nodes_.Add({{"state", "ready"}}).Set(static_cast<double>(ready));
  nodes_.Add({{"state", "lost"}}).Set(static_cast<double>(lost));
  slots_.Add({{"state", "free"}}).Set(static_cast<double>(free));
  slots_.Add({{"state", "used"}}).Set(static_cast<double>(used));
  loaders_.Set(static_cast<double>(loaders));
}

void CoordinatorMetrics::SetTraining(const std::vector<const v1::RankHealth*>& ranks) {
  double tokens_per_second = 0;
  double mfu = 0;
  int64_t mfu_ranks = 0;
  std::array<double, kPhases.size()> shares = {};
  for (const v1::RankHealth* const rank : ranks) {
    tokens_per_second += rank->tokens_per_second();
    mfu += rank->mfu();
    if (rank->mfu() > 0) ++mfu_ranks;
    for (size_t i = 0; i < kPhases.size(); ++i) shares[i] += kPhases[i].share(rank->time_shares());
  }
  const auto mean = [](double sum, size_t count) { return count == 0 ? 0.0 : sum / static_cast<double>(count); };
  training_ranks_.Set(static_cast<double>(ranks.size()));
  training_tokens_per_second_.Set(tokens_per_second);
  training_mfu_.Set(mean(mfu, static_cast<size_t>(mfu_ranks)));
  for (size_t i = 0; i < kPhases.size(); ++i) {
    training_time_share_.Add({{"phase", kPhases[i].name}}).Set(mean(shares[i], ranks.size()));
  }
}

void CoordinatorMetrics::CountSkippedSteps(int64_t steps) { skipped_steps_.Increment(static_cast<double>(steps)); }

void CoordinatorMetrics::CountCommit(const absl::Status& status, absl::Duration duration) {
  (status.ok() ? commits_ : commit_failures_).Increment();
  commit_seconds_.Observe(absl::ToDoubleSeconds(duration));
}

void CoordinatorMetrics::CountRpc(const std::string& method, const absl::Status& status, absl::Duration duration) {
  rpc_requests_.Add({{"method", method}, {"code", absl::StatusCodeToString(status.code())}}).Increment();
  rpc_seconds_.Add({{"method", method}}, SecondsBuckets()).Observe(absl::ToDoubleSeconds(duration));
}

}  // namespace bert::coordinator
