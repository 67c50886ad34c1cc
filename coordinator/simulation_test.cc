// The real Coordinator with simulated agents, trainers, users, clock, network and disk. Faults rage for a minute of
// simulated time; then they stop, and every job must come to its end. A failure names its seed;
// BERT_SIMULATION_SEED=n runs that history alone.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator_rig.h"
#include "coordinator/simulated_agent.h"
#include "coordinator/simulated_network.h"

namespace bert::coordinator {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kHistories = 40;
#else
constexpr uint64_t kHistories = 300;
#endif

constexpr absl::Duration kFaultTime = absl::Seconds(60);
constexpr absl::Duration kCalmTime = absl::Seconds(900);
constexpr int kJobs = 5;

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : network_(seed) {
    const int nodes = 2 + static_cast<int>(network_.Below(3));
    for (int i = 0; i < nodes; ++i) {
      agents_.push_back(std::make_unique<SimulatedAgent>(
          &network_, &cluster_, std::string(1, static_cast<char>('a' + i)), 1 + static_cast<int>(network_.Below(3))));
    }
    network_.rig.disk.compact_records = 5 + network_.Below(60);
    network_.on_crash = [this] {
      // What a crash within an append leaves behind is either state.
      died_in_append_ = network_.rig.disk.dead;
      before_crash_ = network_.rig.coordinator->TakeSnapshot().SerializeAsString();
    };
    network_.on_restart = [this] { CheckRecovered(); };
    network_.rig.disk.fault = [this] {
      if (!network_.faults) return MemoryDisk::Fault::kNone;
      if (disk_full_) return MemoryDisk::Fault::kFull;
      if (network_.OneIn(60)) {
        return network_.OneIn(2) ? MemoryDisk::Fault::kDiesBeforeSync : MemoryDisk::Fault::kDiesAfterSync;
      }
      return MemoryDisk::Fault::kNone;
    };
  }

  void Run() {
    network_.StartTicking();
    for (auto& agent : agents_) agent->Start();
    BeatLoader();
    for (int i = 0; i < kJobs; ++i) {
      network_.After(network_.Between(absl::ZeroDuration(), kFaultTime / 2), [this, i] { Submit(i); });
    }
    Disturb();
    Inspect();
    network_.Run(kFaultTime, [] { return false; });
    network_.faults = false;
    network_.partitioned.clear();
    disk_full_ = false;
    network_.Run(kFaultTime + kCalmTime, [this] { return AllEnded(); });
    EXPECT_TRUE(AllEnded()) << "after " << network_.now() << ":\n" << Describe();
    if (network_.rig.coordinator != nullptr) CheckAcknowledged();
  }

  const std::map<std::string, int>& endings() const { return endings_; }

 private:
  Coordinator& coordinator() { return *network_.rig.coordinator; }

  void BeatLoader() {
    v1::LoaderHeartbeatRequest request;
    request.set_address("loader:1");
    network_.Call<v1::LoaderHeartbeatResponse>(
        "", absl::Seconds(1),
        [request](Coordinator& coordinator, auto reply) { reply(coordinator.LoaderHeartbeat(request)); },
        [this](const auto&) { network_.After(absl::Milliseconds(700), [this] { BeatLoader(); }); });
  }

  // Users ask until they are answered.
  void Submit(int number) {
    const int32_t min = 1 + static_cast<int32_t>(network_.Below(2));
    v1::SubmitJobRequest request =
        SubmitRequest(min, min + static_cast<int32_t>(network_.Below(3)), absl::StrCat("request-", number));
    request.mutable_spec()->set_priority(static_cast<int32_t>(network_.Below(2)));
    Send(number, request);
  }
  void Send(int number, const v1::SubmitJobRequest& request) {
    network_.Call<v1::Job>(
        "", absl::Seconds(2),
        [request](Coordinator& coordinator, auto reply) { reply(coordinator.SubmitJob(request)); },
        [this, number, request](const absl::StatusOr<v1::Job>& job) {
          if (!job.ok()) {
            EXPECT_TRUE(absl::IsUnavailable(job.status())) << job.status();
            return Send(number, request);
          }
          submitted_[number] = job->id();
          if (network_.OneIn(5)) {
            network_.After(network_.Between(absl::ZeroDuration(), absl::Seconds(20)),
                           [this, id = job->id()] { Cancel(id); });
          }
        });
  }
  void Cancel(const std::string& id) {
    v1::CancelJobRequest request;
    request.set_job_id(id);
    network_.Call<v1::Job>(
        "", absl::Seconds(2),
        [request](Coordinator& coordinator, auto reply) { reply(coordinator.CancelJob(request, "")); },
        [this, id](const absl::StatusOr<v1::Job>& job) {
          if (!job.ok()) {
            EXPECT_TRUE(absl::IsUnavailable(job.status())) << job.status();
            return Cancel(id);
          }
          cancelled_.insert(id);
        });
  }

  void Disturb() {
    network_.After(network_.Between(absl::Milliseconds(300), absl::Seconds(6)), [this] {
      if (!network_.faults) return;
      SimulatedAgent& agent = *agents_[network_.Below(static_cast<int64_t>(agents_.size()))];
      switch (network_.Below(6)) {
        case 0:
          network_.Crash();
          break;
        case 1:
          agent.Die();
          break;
        case 2:
          network_.partitioned.insert(agent.name());
          network_.After(network_.Between(absl::Seconds(1), absl::Seconds(10)),
                         [this, name = agent.name()] { network_.partitioned.erase(name); });
          break;
        case 3:
          disk_full_ = true;
          network_.After(network_.Between(absl::Seconds(1), absl::Seconds(5)), [this] { disk_full_ = false; });
          break;
        default:
          agent.KillOne();
      }
      Disturb();
    });
  }

  void CheckRecovered() {
    const std::string recovered = coordinator().TakeSnapshot().SerializeAsString();
    if (!died_in_append_) {
      EXPECT_EQ(recovered == before_crash_, true) << "the journal gives back another state";
    }
    CheckAcknowledged();
  }

  // What was acknowledged is there.
  void CheckAcknowledged() {
    std::map<std::string, JobRecord> jobs;
    const Snapshot snapshot = coordinator().TakeSnapshot();
    std::set<std::string> requests;
    for (const JobRecord& job : snapshot.jobs()) {
      jobs[job.job_id()] = job;
      EXPECT_TRUE(requests.insert(job.request_id()).second) << job.request_id() << " made two jobs";
    }
    for (const auto& [number, id] : submitted_) {
      ASSERT_TRUE(jobs.contains(id)) << id;
      EXPECT_EQ(jobs[id].request_id(), absl::StrCat("request-", number));
    }
    for (const std::string& id : cancelled_) {
      EXPECT_NE(jobs[id].state(), v1::JOB_STATE_PENDING) << id;
      EXPECT_NE(jobs[id].state(), v1::JOB_STATE_STARTING) << id;
      EXPECT_NE(jobs[id].state(), v1::JOB_STATE_RUNNING) << id;
    }
    for (const auto& [id, step] : cluster_.acknowledged_steps) EXPECT_GE(jobs[id].highest_step(), step) << id;
  }

  void Inspect() {
    network_.After(absl::Milliseconds(1'700), [this] {
      if (network_.rig.coordinator != nullptr) {
        CheckAcknowledged();
        CheckSlots();
      }
      Inspect();
    });
  }

  void CheckSlots() {
    const Snapshot snapshot = coordinator().TakeSnapshot();
    std::set<std::pair<std::string, int32_t>> held;
    for (const JobRecord& job : snapshot.jobs()) {
      const bool partial = job.ranks_size() < job.spec().workers().min() && job.ranks_size() > 0;
      EXPECT_FALSE(partial) << job.job_id();
      for (const RankRecord& rank : job.ranks()) {
        if (rank.ended()) continue;
        EXPECT_TRUE(held.emplace(rank.placement().node(), rank.placement().slot()).second);
      }
    }
  }

  bool AllEnded() {
    if (network_.rig.coordinator == nullptr || submitted_.size() < kJobs) return false;
    endings_.clear();
    for (const auto& [number, id] : submitted_) {
      const v1::JobState state = coordinator().GetJob(id)->state();
      if (IsActive(state)) return false;
      ++endings_[StateName(state)];
    }
    return true;
  }

  std::string Describe() {
    std::string text;
    if (network_.rig.coordinator == nullptr) return "no coordinator";
    for (const auto& [number, id] : submitted_) {
      const v1::Job job = *coordinator().GetJob(id);
      absl::StrAppend(&text, id, " ", StateName(job.state()), " generation ", job.generation(), ": ", job.reason(),
                      "\n");
    }
    return text;
  }

  SimulatedNetwork network_;
  SimulatedCluster cluster_;
  std::vector<std::unique_ptr<SimulatedAgent>> agents_;
  std::map<int, std::string> submitted_;
  std::set<std::string> cancelled_;
  bool disk_full_ = false;
  bool died_in_append_ = false;
  std::string before_crash_;
  std::map<std::string, int> endings_;
};

TEST(SimulationTest, EveryJobComesToItsEnd) {
  spdlog::set_level(spdlog::level::off);
  const char* const only = std::getenv("BERT_SIMULATION_SEED");
  const uint64_t first = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
  const uint64_t last = only == nullptr ? kHistories : first;
  std::map<std::string, int> endings;
  for (uint64_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE(absl::StrCat("BERT_SIMULATION_SEED=", seed));
    Simulation simulation(seed);
    simulation.Run();
    if (HasFailure()) return;
    for (const auto& [ending, count] : simulation.endings()) endings[ending] += count;
  }
  for (const auto& [ending, count] : endings) std::cout << ending << ": " << count << "\n";
  if (only == nullptr) {
    // The histories are worth something only if jobs get through, and are cancelled.
    EXPECT_GT(endings["SUCCEEDED"], static_cast<int>(kHistories));
    EXPECT_GT(endings["CANCELLED"], 0);
  }
}

}  // namespace
}  // namespace bert::coordinator
