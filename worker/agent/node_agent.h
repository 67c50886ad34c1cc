// The agent of one node: keeps it registered and runs what the coordinator assigns to it.
#ifndef BERT_WORKER_AGENT_NODE_AGENT_H_
#define BERT_WORKER_AGENT_NODE_AGENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/backoff.h"
#include "common/clock.h"
#include "worker/agent/agent_metrics.h"
#include "worker/agent/log_shipper.h"
#include "worker/agent/mailbox.h"
#include "worker/agent/rank.h"
#include "worker/agent/reconciler.h"
#include "worker/agent/trainer_command.h"

namespace bert::agent {

// Level-triggered: every heartbeat says what runs here, every answer says what should, and Reconcile makes the
// difference good.
//
//   registering ──ok──► active ──stale──► fenced ──all ranks ended──► registering (a new incarnation)
//        any ──RequestStop──► stopping: withdraws the node's slots, ends the ranks, flushes the logs, returns
//
// While the coordinator cannot be reached everything keeps running. A rank that exits is not started again here: it is
// reported until an answer no longer names it.
//
// One loop in the thread that calls Run, which must live as long as the process (see ExecTrainerCommand). It never
// blocks on the network: answers come through the mailbox.
class NodeAgent {
 public:
  struct Options {
    std::string node;
    std::string address;
    std::vector<v1::Slot> slots;
    std::string version;
    // For logs/<job>/<generation>-<rank>.log and assignments/<job>/<generation>-<rank>.json.
    std::string work_dir;
    TrainerFlags trainer;
    // Between SIGTERM and SIGKILL.
    absl::Duration grace = absl::Seconds(10);
    absl::Duration flush_timeout = absl::Seconds(5);
    int64_t log_bytes_max = 64 << 20;
    // A new random one with each call.
    std::function<std::string()> new_incarnation;
    uint64_t seed = 0;
    // Called in Run's thread after the first registration.
    std::function<void()> on_registered = [] {};
  };

  // `clock` and `metrics` outlive this.
  NodeAgent(std::shared_ptr<grpc::Channel> channel, Options options, Clock* clock, AgentMetrics* metrics);
  ~NodeAgent();
  NodeAgent(const NodeAgent&) = delete;
  NodeAgent& operator=(const NodeAgent&) = delete;

  // Until RequestStop; then OK, with no rank left. An error where the coordinator refuses this node for good:
  // its own code, or ALREADY_EXISTS where another agent registers under the same name again and again.
  absl::Status Run();
  // Any thread.
  void RequestStop();
  // OK while registered. Any thread.
  absl::Status Ready() const;

 private:
  enum class Stage { kRegistering, kActive, kFenced, kStopping };

  // One call at a time.
  struct Call {
    grpc::ClientContext context;
    v1::RegisterNodeRequest register_request;
    v1::RegisterNodeResponse register_response;
    v1::HeartbeatRequest heartbeat_request;
    v1::HeartbeatResponse heartbeat_response;
  };

  void Stop();
  void Advance();
  void WaitForEvents();
  absl::Duration NextTimer() const;

  void SendRegistration(const std::vector<v1::Slot>& slots);
  void OnRegistered(const absl::Status& status);
  void SendHeartbeat();
  void OnHeartbeat(const absl::Status& status);
  // The coordinator no longer counts on what runs here: ends it all, then registers anew.
  void Fence(const absl::Status& why);

  void ApplyAnswer(const v1::HeartbeatResponse& answer);
  void StartRank(const v1::Assignment& assignment);
  void EndAll(const std::string& why);
  bool AllExited() const;
  std::string PathOf(const RankKey& key, const std::string& folder, const std::string& suffix) const;

  const Options options_;
  Clock* const clock_;
  AgentMetrics* const metrics_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  LogShipper shipper_;
  Mailbox mailbox_;
  Backoff backoff_;

  Stage stage_ = Stage::kRegistering;
  std::atomic<bool> registered_ = false;
  bool ever_registered_ = false;
  // Registrations in a row that another agent of the same name has ended.
  int superseded_ = 0;
  absl::Status failure_;
  std::string incarnation_;
  // Heartbeats of this incarnation.
  int64_t sequence_ = 0;
  absl::Duration interval_ = absl::Seconds(1);
  absl::Duration lease_ = absl::Seconds(3);
  std::unique_ptr<Call> call_;
  absl::Duration call_sent_at_ = absl::ZeroDuration();
  // Start of the last call that renewed the lease.
  absl::Duration lease_from_ = absl::ZeroDuration();
  absl::Duration registered_at_ = absl::ZeroDuration();
  absl::Duration next_call_at_ = absl::ZeroDuration();
  bool unreachable_ = false;
  bool withdrawn_ = false;
  std::map<RankKey, std::unique_ptr<Rank>> ranks_;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_NODE_AGENT_H_
