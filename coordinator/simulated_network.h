// A seeded world for the coordinator: one schedule of events, and messages that are delayed, lost and repeated.
#ifndef BERT_COORDINATOR_SIMULATED_NETWORK_H_
#define BERT_COORDINATOR_SIMULATED_NETWORK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/coordinator_rig.h"

namespace bert::coordinator {

// The coordinator, its disk and its network. Single-threaded: everything happens in Run.
class SimulatedNetwork {
 public:
  explicit SimulatedNetwork(uint64_t seed) : random_(seed) {}

  int64_t Below(int64_t bound) { return std::uniform_int_distribution<int64_t>(0, bound - 1)(random_); }
  bool OneIn(int64_t n) { return Below(n) == 0; }
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    return low + absl::Milliseconds(Below(absl::ToInt64Milliseconds(high - low) + 1));
  }
  absl::Duration now() { return rig.clock.Monotonic(); }

  void After(absl::Duration delay, std::function<void()> event) {
    schedule_.emplace(std::make_pair(now() + delay, next_event_++), std::move(event));
  }
  // Events in the order of their times, until the schedule is empty, `until` is reached, or `done` holds.
  void Run(absl::Duration until, const std::function<bool()>& done) {
    while (!schedule_.empty() && !done()) {
      const auto first = schedule_.begin();
      if (first->first.first > until) return;
      const std::function<void()> event = std::move(first->second);
      rig.clock.Advance(first->first.first - now());
      schedule_.erase(first);
      event();
    }
  }

  // A call from `node` (empty: from outside). `serve` runs at the coordinator, perhaps twice, perhaps never; `done`
  // runs exactly once: with the answer, or with UNAVAILABLE when the caller gives up. As over TCP, what is under way to
  // or from a coordinator dies with its process.
  template <typename Response>
  void Call(const std::string& node, absl::Duration timeout,
            std::function<void(Coordinator&, std::function<void(absl::StatusOr<Response>)>)> serve,
            std::function<void(absl::StatusOr<Response>)> done) {
    struct Pending {
      bool over = false;
      std::function<void(absl::StatusOr<Response>)> done;
    };
    auto pending = std::make_shared<Pending>();
    pending->done = std::move(done);
    const int copies = faults && OneIn(15) ? 2 : 1;
    const int64_t process = process_;
    for (int copy = 0; copy < copies; ++copy) {
      if (Lost(node)) continue;
      After(Delay(), [this, node, process, serve, pending] {
        if (!Up(process, node)) return;
        serve(*rig.coordinator, [this, node, process, pending](absl::StatusOr<Response> answer) {
          if (Lost(node)) return;
          After(Delay(), [this, node, process, pending, answer = std::move(answer)] {
            if (pending->over || !Up(process, node)) return;
            pending->over = true;
            pending->done(answer);
          });
        });
        CrashWhereDead();
      });
    }
    After(timeout, [pending] {
      if (pending->over) return;
      pending->over = true;
      pending->done(absl::UnavailableError("no answer"));
    });
  }

  void Crash() {
    if (rig.coordinator == nullptr) return;
    on_crash();
    rig.coordinator = nullptr;
    ++process_;
    After(Between(absl::Milliseconds(100), absl::Seconds(5)), [this] {
      rig.Restart();
      on_restart();
    });
  }
  // After an append in which the process died.
  void CrashWhereDead() {
    if (rig.disk.dead) Crash();
  }
  // As the coordinator's own ticker.
  void StartTicking() {
    After(absl::Milliseconds(100), [this] {
      if (rig.coordinator != nullptr) {
        rig.coordinator->Tick().IgnoreError();
        CrashWhereDead();
      }
      StartTicking();
    });
  }

  CoordinatorRig rig;
  bool faults = true;
  std::set<std::string> partitioned;
  std::function<void()> on_crash = [] {};
  std::function<void()> on_restart = [] {};

 private:
  bool Up(int64_t process, const std::string& node) const {
    return rig.coordinator != nullptr && process == process_ && !partitioned.contains(node);
  }
  bool Lost(const std::string& node) { return partitioned.contains(node) || (faults && OneIn(12)); }
  absl::Duration Delay() {
    return Between(absl::Milliseconds(1), faults && OneIn(10) ? absl::Milliseconds(1'500) : absl::Milliseconds(50));
  }

  std::mt19937_64 random_;
  std::map<std::pair<absl::Duration, int64_t>, std::function<void()>> schedule_;
  int64_t next_event_ = 0;
  int64_t process_ = 0;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_SIMULATED_NETWORK_H_
