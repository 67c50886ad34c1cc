// One rank on this node, from its start until the coordinator no longer names it.
#ifndef BERT_WORKER_AGENT_RANK_H_
#define BERT_WORKER_AGENT_RANK_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bert/v1/worker.pb.h"
#include "common/clock.h"
#include "worker/agent/agent_metrics.h"
#include "worker/agent/line_splitter.h"
#include "worker/agent/log_file.h"
#include "worker/agent/log_shipper.h"
#include "worker/agent/process.h"
#include "worker/agent/reconciler.h"

namespace bert::agent {

// Lines at the end of a failed rank's log that its status carries.
inline constexpr size_t kTailLines = 20;

// Owns the process and its log file; its lines also go to the shipper. Destroying it kills the process. Not
// thread-safe.
class Rank {
 public:
  struct Options {
    RankKey key;
    int32_t slot = 0;
    std::string log_path;
    // Removed with the rank; empty where there is none.
    std::string assignment_path;
    int64_t log_bytes_max = 64 << 20;
    // All three outlive the rank.
    Clock* clock = nullptr;
    LogShipper* shipper = nullptr;
    AgentMetrics* metrics = nullptr;
  };

  explicit Rank(Options options);
  ~Rank();
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // Call one of the two, once. Where the process cannot be started, the rank has exited with code 127.
  void Start(const Process::Options& process);
  void FailToStart(const absl::Status& why);

  // SIGTERM now and SIGKILL after `grace`, by KillIfOverdue. Does nothing unless it is running.
  void End(absl::Duration grace, const std::string& why);
  void KillIfOverdue();
  // When KillIfOverdue is due; infinite for none.
  absl::Duration kill_at() const { return kill_at_; }

  // File descriptors to poll for reading; -1 where there is none.
  int exit_fd() const { return process_ != nullptr ? process_->exit_fd() : -1; }
  int output_fd() const { return output_open_ ? process_->output_fd() : -1; }
  // Takes what its output holds, a bounded amount a call.
  void ReadOutput();
  // Whether it has exited in this call.
  bool TryReap();

  const RankKey& key() const { return options_.key; }
  int32_t slot() const { return options_.slot; }
  RankPhase phase() const { return phase_; }
  v1::RankStatus Status() const;

  // The request under way says that it has exited.
  bool exit_reported = false;

 private:
  // Reads at most `bytes_max`.
  void Read(size_t bytes_max);
  void Log(std::string line);
  void Exited(const ExitStatus& status, std::string detail);

  const Options options_;
  const absl::Duration started_at_;
  RankPhase phase_ = RankPhase::kRunning;
  std::unique_ptr<Process> process_;
  bool output_open_ = false;
  int32_t pid_ = 0;
  absl::Duration kill_at_ = absl::InfiniteDuration();
  std::string end_reason_;
  ExitStatus exit_;
  std::string detail_;

  LineSplitter splitter_;
  std::unique_ptr<LogFile> log_;
  bool log_failing_ = false;
  std::deque<std::string> tail_;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_RANK_H_
