// Agents and trainers of the simulation: they follow the protocol, and die.
#ifndef BERT_COORDINATOR_SIMULATED_AGENT_H_
#define BERT_COORDINATOR_SIMULATED_AGENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "bert/v1/worker.pb.h"
#include "coordinator/membership.h"
#include "coordinator/simulated_network.h"

namespace bert::coordinator {

inline constexpr int64_t kSimulatedSteps = 20;
inline constexpr int64_t kSimulatedCheckpointSteps = 5;

// One rank's process.
struct SimulatedProcess {
  v1::Assignment assignment;
  std::string node;
  std::string incarnation;
  bool alive = true;
  int32_t exit_code = 0;
  int32_t signal = 0;
  bool ending = false;
  bool met = false;
  // Completed steps.
  int64_t step = 0;
};

// What really runs, on all machines, and what was acknowledged about checkpoints.
struct SimulatedCluster {
  std::map<RankKey, std::shared_ptr<SimulatedProcess>> processes;
  // Of each job: the newest step whose commit was answered with OK.
  std::map<std::string, int64_t> acknowledged_steps;
};

// One node: an agent and the trainers it starts. Outlives the network's last event.
class SimulatedAgent {
 public:
  SimulatedAgent(SimulatedNetwork* network, SimulatedCluster* cluster, std::string name, int slots)
      : network_(network), cluster_(cluster), name_(std::move(name)), slots_(slots) {}

  const std::string& name() const { return name_; }

  // A new agent process comes up, with nothing running.
  void Start();
  // The machine dies, with all that runs on it; it comes back later.
  void Die();
  // Something on the machine kills one of its trainers.
  void KillOne();

 private:
  using Process = std::shared_ptr<SimulatedProcess>;

  void Register();
  void Beat();
  void Follow(const v1::HeartbeatResponse& response);
  // What the coordinator takes for ended has ended, everywhere.
  void CheckEnded(const Coordinator& coordinator) const;
  // Ends everything, then registers anew.
  void Fence();
  void StartProcess(const v1::Assignment& assignment);
  void End(const Process& process);
  void Exit(const Process& process, int32_t exit_code, int32_t signal);

  // A trainer's life.
  void Meet(const Process& process);
  void Step(const Process& process);
  void Report(const Process& process);
  void Checkpoint(const Process& process, std::function<void()> then);
  bool PeerLost(const SimulatedProcess& process) const;

  SimulatedNetwork* const network_;
  SimulatedCluster* const cluster_;
  const std::string name_;
  const int slots_;
  // Counts agent processes; events of an older one do nothing.
  int64_t life_ = 0;
  std::string incarnation_;
  int64_t incarnations_ = 0;
  int64_t sequence_ = 0;
  std::map<RankKey, Process> processes_;
  std::set<RankKey> exit_reported_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_SIMULATED_AGENT_H_
