#include "coordinator/simulated_agent.h"

#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/failure.h"

namespace bert::coordinator {
namespace {

constexpr absl::Duration kBeat = absl::Seconds(1);
constexpr absl::Duration kCallTimeout = absl::Seconds(1);
constexpr absl::Duration kStepTime = absl::Milliseconds(200);

RankKey KeyOf(const v1::Assignment& assignment) {
  return {JobId(assignment.job_id()), assignment.generation(), assignment.rank()};
}

}  // namespace

void SimulatedAgent::Start() {
  ++life_;
  processes_.clear();
  exit_reported_.clear();
  Register();
}

void SimulatedAgent::Die() {
  const int64_t life = ++life_;
  for (auto& [key, process] : processes_) process->alive = false;
  processes_.clear();
  network_->After(network_->Between(absl::Milliseconds(200), absl::Seconds(8)), [this, life] {
    if (life == life_) Start();
  });
}

void SimulatedAgent::KillOne() {
  for (auto& [key, process] : processes_) {
    if (process->alive) return Exit(process, network_->OneIn(2) ? 1 : 0, 9);
  }
}

void SimulatedAgent::Register() {
  const int64_t life = life_;
  incarnation_ = absl::StrCat(name_, "-", ++incarnations_);
  sequence_ = 0;
  const v1::RegisterNodeRequest request = RegisterRequest(name_, incarnation_, slots_);
  network_->Call<v1::RegisterNodeResponse>(
      name_, kCallTimeout,
      [request](Coordinator& coordinator, auto reply) { reply(coordinator.RegisterNode(request)); },
      [this, life](const absl::StatusOr<v1::RegisterNodeResponse>& response) {
        if (life != life_) return;
        if (response.ok()) return Beat();
        network_->After(absl::Milliseconds(500), [this, life] {
          if (life == life_) Register();
        });
      });
}

void SimulatedAgent::Beat() {
  const int64_t life = life_;
  v1::HeartbeatRequest request;
  request.set_node(name_);
  request.set_incarnation(incarnation_);
  request.set_sequence(++sequence_);
  for (const auto& [key, process] : processes_) {
    v1::RankStatus& status = *request.add_ranks();
    status.set_job_id(key.job.value());
    status.set_generation(key.generation);
    status.set_rank(key.rank);
    status.set_slot(process->assignment.slot());
    status.set_state(process->alive ? v1::RANK_STATE_RUNNING : v1::RANK_STATE_EXITED);
    status.set_exit_code(process->exit_code);
    status.set_signal(process->signal);
    if (!process->alive) exit_reported_.insert(key);
  }
  network_->Call<v1::HeartbeatResponse>(
      name_, kCallTimeout,
      [this, request](Coordinator& coordinator, auto reply) {
        reply(coordinator.Heartbeat(request));
        CheckEnded(coordinator);
      },
      [this, life](const absl::StatusOr<v1::HeartbeatResponse>& response) {
        if (life != life_) return;
        if (absl::IsFailedPrecondition(response.status()) || absl::IsNotFound(response.status())) return Fence();
        if (response.ok()) Follow(*response);
        network_->After(kBeat, [this, life] {
          if (life == life_) Beat();
        });
      });
}

void SimulatedAgent::CheckEnded(const Coordinator& coordinator) const {
  const Snapshot snapshot = coordinator.TakeSnapshot();
  for (const auto& job : snapshot.jobs()) {
    for (const auto& rank : job.ranks()) {
      if (!rank.ended() || !rank.lost_reason().empty()) continue;
      const auto process = cluster_->processes.find({JobId(job.job_id()), job.generation(), rank.placement().rank()});
      EXPECT_TRUE(process == cluster_->processes.end() || !process->second->alive)
          << "rank " << rank.placement().rank() << " of " << job.job_id() << " runs and counts as ended";
    }
  }
}

void SimulatedAgent::Follow(const v1::HeartbeatResponse& response) {
  std::set<RankKey> wanted;
  std::set<int32_t> busy;
  for (const auto& [key, process] : processes_) {
    if (process->alive) busy.insert(process->assignment.slot());
  }
  for (const v1::Assignment& assignment : response.assignments()) {
    const RankKey key = KeyOf(assignment);
    wanted.insert(key);
    if (processes_.contains(key)) continue;
    // The coordinator gives a slot away only when its last rank is known to have ended.
    EXPECT_FALSE(busy.contains(assignment.slot()))
        << name_ << " slot " << assignment.slot() << " is asked for twice at " << network_->now();
    if (!busy.contains(assignment.slot())) StartProcess(assignment);
  }
  for (auto it = processes_.begin(); it != processes_.end();) {
    const auto current = it++;
    if (wanted.contains(current->first)) continue;
    if (current->second->alive) {
      End(current->second);
    } else if (exit_reported_.contains(current->first)) {
      exit_reported_.erase(current->first);
      processes_.erase(current);
    }
  }
}

void SimulatedAgent::Fence() {
  const int64_t life = life_;
  for (auto& [key, process] : processes_) End(process);
  network_->After(absl::Milliseconds(600), [this, life] {
    if (life != life_) return;
    processes_.clear();
    exit_reported_.clear();
    Register();
  });
}

void SimulatedAgent::StartProcess(const v1::Assignment& assignment) {
  auto process = std::make_shared<SimulatedProcess>();
  process->assignment = assignment;
  process->node = name_;
  process->incarnation = incarnation_;
  process->step = assignment.resume_points().empty() ? 0 : assignment.resume_points(0).step();
  const RankKey key = KeyOf(assignment);
  EXPECT_FALSE(cluster_->processes.contains(key)) << key.job.value() << " starts a rank twice";
  // Of one job only one generation runs, except where an agent has lost touch and does not know yet.
  const Snapshot snapshot =
      network_->rig.coordinator == nullptr ? Snapshot() : network_->rig.coordinator->TakeSnapshot();
  for (const auto& [other, running] : cluster_->processes) {
    if (other.job != key.job || other.generation >= key.generation || !running->alive) continue;
    for (const auto& node : snapshot.nodes()) {
      EXPECT_TRUE(node.node() != running->node || node.lost() || node.incarnation() != running->incarnation)
          << "generation " << other.generation << " of " << key.job.value() << " still runs on " << running->node;
    }
  }
  cluster_->processes[key] = process;
  processes_[key] = process;
  network_->After(network_->Between(absl::Milliseconds(50), absl::Milliseconds(800)),
                  [this, process] { Meet(process); });
}

void SimulatedAgent::End(const Process& process) {
  if (!process->alive || process->ending) return;
  process->ending = true;
  network_->After(network_->Between(absl::Milliseconds(10), absl::Milliseconds(500)),
                  [this, process] { Exit(process, 143, 0); });
}

void SimulatedAgent::Exit(const Process& process, int32_t exit_code, int32_t signal) {
  if (!process->alive) return;
  process->alive = false;
  process->exit_code = exit_code;
  process->signal = signal;
}

void SimulatedAgent::Meet(const Process& process) {
  if (!process->alive) return;
  v1::JoinRendezvousRequest request;
  request.set_job_id(process->assignment.job_id());
  request.set_generation(process->assignment.generation());
  request.set_rank(process->assignment.rank());
  request.set_store_address("store");
  network_->Call<v1::JoinRendezvousResponse>(
      name_, absl::Seconds(10),
      [request](Coordinator& coordinator, auto reply) { coordinator.JoinRendezvous(request, reply); },
      [this, process](const absl::StatusOr<v1::JoinRendezvousResponse>& response) {
        if (!process->alive) return;
        if (absl::IsUnavailable(response.status())) return Meet(process);
        if (!response.ok()) return Exit(process, 1, 0);
        EXPECT_EQ(response->store_address(), "store");
        process->met = true;
        if (process->assignment.rank() == 0) Report(process);
        Step(process);
      });
}

bool SimulatedAgent::PeerLost(const SimulatedProcess& process) const {
  for (int32_t rank = 0; rank < process.assignment.world_size(); ++rank) {
    const auto peer =
        cluster_->processes.find({JobId(process.assignment.job_id()), process.assignment.generation(), rank});
    if (peer == cluster_->processes.end() || peer->second->alive) continue;
    if (peer->second->exit_code != 0 || peer->second->signal != 0 || peer->second->step < kSimulatedSteps) return true;
  }
  return false;
}

void SimulatedAgent::Step(const Process& process) {
  network_->After(kStepTime, [this, process] {
    if (!process->alive) return;
    if (PeerLost(*process)) return Exit(process, kExitPeerLost, 0);
    ++process->step;
    const auto go_on = [this, process] {
      if (!process->alive) return;
      if (process->step >= kSimulatedSteps) return Exit(process, 0, 0);
      Step(process);
    };
    if (process->assignment.rank() == 0 && process->step % kSimulatedCheckpointSteps == 0) {
      Checkpoint(process, go_on);
    } else {
      go_on();
    }
  });
}

void SimulatedAgent::Checkpoint(const Process& process, std::function<void()> then) {
  if (!process->alive) return;
  v1::CommitCheckpointRequest request;
  request.set_job_id(process->assignment.job_id());
  request.set_generation(process->assignment.generation());
  request.set_step(process->step);
  request.set_directory(absl::StrCat("/checkpoints/", request.job_id(), "/step-", process->step));
  request.set_digest(absl::StrCat("xxh128:", process->assignment.generation(), "-", process->step));
  network_->Call<v1::CommitCheckpointResponse>(
      name_, kCallTimeout,
      [request](Coordinator& coordinator, auto reply) {
        const auto response = coordinator.CommitCheckpoint(request);
        if (response.ok()) {
          EXPECT_EQ(coordinator.GetJob(request.job_id())->generation(), request.generation());
        }
        reply(response);
      },
      [this, process, request, then = std::move(then)](const absl::StatusOr<v1::CommitCheckpointResponse>& response) {
        if (absl::IsUnavailable(response.status())) return Checkpoint(process, then);
        if (!response.ok()) {
          EXPECT_TRUE(absl::IsFailedPrecondition(response.status())) << response.status();
          return Exit(process, 1, 0);
        }
        int64_t& acknowledged = cluster_->acknowledged_steps[request.job_id()];
        acknowledged = std::max<int64_t>(acknowledged, request.step());
        then();
      });
}

void SimulatedAgent::Report(const Process& process) {
  if (!process->alive) return;
  v1::ReportProgressRequest request;
  request.set_job_id(process->assignment.job_id());
  request.set_generation(process->assignment.generation());
  if (process->step > 0) request.add_steps()->set_step(process->step);
  network_->Call<v1::ReportProgressResponse>(
      name_, kCallTimeout,
      [request](Coordinator& coordinator, auto reply) { reply(coordinator.ReportProgress(request)); },
      [this, process](const absl::StatusOr<v1::ReportProgressResponse>& response) {
        if (!process->alive) return;
        if (absl::IsFailedPrecondition(response.status())) return Exit(process, 1, 0);
        if (response.ok() && response->action() == v1::TRAINER_ACTION_STOP) return Exit(process, 0, 0);
        network_->After(absl::Milliseconds(700), [this, process] { Report(process); });
      });
}

}  // namespace bert::coordinator
