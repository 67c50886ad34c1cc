#include "worker/agent/rank.h"

#include <errno.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bert::agent {
namespace {

constexpr int kNotStartedExitCode = 127;
// One rank must not keep the loop from the others.
constexpr size_t kReadBytesMax = 256 << 10;
// After its end: the pipe's content and no more, for something outside its group may still be writing.
constexpr size_t kDrainBytesMax = 4 << 20;

}  // namespace

Rank::Rank(Options options) : options_(std::move(options)), started_at_(options_.clock->Monotonic()) {
  auto log = LogFile::Open(options_.log_path, options_.log_bytes_max);
  if (log.ok()) {
    log_ = *std::move(log);
  } else {
    log_failing_ = true;
    spdlog::error("this rank's lines go to the coordinator only {}: {}", key().ToString(), log.status().ToString());
  }
}

Rank::~Rank() {
  options_.shipper->Close(key());
  // The log stays for people; the assignment has served its purpose.
  if (!options_.assignment_path.empty()) unlink(options_.assignment_path.c_str());
}

void Rank::Start(const Process::Options& process) {
  auto spawned = Process::Spawn(process);
  if (!spawned.ok()) {
    FailToStart(spawned.status());
    return;
  }
  process_ = *std::move(spawned);
  pid_ = process_->pid();
  output_open_ = true;
  options_.metrics->starts.Increment();
  spdlog::info("rank started {} slot={} pid={} log={}", key().ToString(), options_.slot, pid_, options_.log_path);
}

void Rank::FailToStart(const absl::Status& why) {
  const std::string detail = absl::StrCat("could not be started: ", why.message());
  Log(absl::StrCat("[agent] ", detail));
  options_.metrics->exits_not_started.Increment();
  spdlog::error("rank {} {}", detail, key().ToString());
  Exited({.exit_code = kNotStartedExitCode}, detail);
}

void Rank::End(absl::Duration grace, const std::string& why) {
  if (phase_ != RankPhase::kRunning) return;
  phase_ = RankPhase::kEnding;
  end_reason_ = why;
  kill_at_ = options_.clock->Monotonic() + grace;
  spdlog::info("rank is told to end {} pid={} why={}", key().ToString(), pid_, why);
  process_->Signal(SIGTERM);
}

void Rank::KillIfOverdue() {
  if (phase_ != RankPhase::kEnding || options_.clock->Monotonic() < kill_at_) return;
  spdlog::warn("rank has not ended in its grace period, killing it {} pid={}", key().ToString(), pid_);
  Log("[agent] has not ended in its grace period after SIGTERM: killed");
  kill_at_ = absl::InfiniteDuration();
  process_->Signal(SIGKILL);
}

void Rank::ReadOutput() { Read(kReadBytesMax); }

void Rank::Read(size_t bytes_max) {
  char buffer[64 << 10];
  size_t total = 0;
  while (output_open_ && total < bytes_max) {
    const ssize_t count = read(process_->output_fd(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      output_open_ = false;
      return;
    }
    total += static_cast<size_t>(count);
    for (std::string& line : splitter_.Feed({buffer, static_cast<size_t>(count)})) Log(std::move(line));
  }
}

bool Rank::TryReap() {
  if (process_ == nullptr) return false;
  const std::optional<ExitStatus> status = process_->TryReap();
  if (!status.has_value()) return false;
  Read(kDrainBytesMax);
  for (std::string& line : splitter_.Finish()) Log(std::move(line));
  const bool ended = phase_ == RankPhase::kEnding;
  const std::string seconds =
      absl::StrFormat("%.1f s", absl::ToDoubleSeconds(options_.clock->Monotonic() - started_at_));
  std::string detail = absl::StrCat(status->ToString(), " after ", seconds);
  if (ended) absl::StrAppend(&detail, ", ended: ", end_reason_);
  (ended          ? options_.metrics->exits_ended
   : status->ok() ? options_.metrics->exits_ok
                  : options_.metrics->exits_failed)
      .Increment();
  spdlog::log(ended || status->ok() ? spdlog::level::info : spdlog::level::warn, "rank exited {} pid={} {}",
              key().ToString(), pid_, detail);
  Exited(*status, std::move(detail));
  process_.reset();
  output_open_ = false;
  return true;
}

void Rank::Exited(const ExitStatus& status, std::string detail) {
  phase_ = RankPhase::kExited;
  kill_at_ = absl::InfiniteDuration();
  exit_ = status;
  detail_ = std::move(detail);
}

void Rank::Log(std::string line) {
  options_.metrics->log_lines_read.Increment();
  if (log_ != nullptr) {
    const absl::Status written = log_->Append(line);
    if (!written.ok() && !log_failing_) {
      spdlog::error("this rank's lines go to the coordinator only {}: {}", key().ToString(), written.ToString());
    }
    log_failing_ = !written.ok();
  }
  tail_.push_back(line);
  if (tail_.size() > kTailLines) tail_.pop_front();
  options_.shipper->Append(key(), options_.clock->Now(), std::move(line));
}

v1::RankStatus Rank::Status() const {
  v1::RankStatus status;
  status.set_job_id(key().job_id);
  status.set_generation(key().generation);
  status.set_rank(key().rank);
  status.set_slot(options_.slot);
  status.set_pid(pid_);
  status.set_state(phase_ == RankPhase::kExited ? v1::RANK_STATE_EXITED : v1::RANK_STATE_RUNNING);
  if (phase_ != RankPhase::kExited) return status;
  status.set_exit_code(exit_.exit_code);
  status.set_signal(exit_.signal);
  status.set_detail(detail_);
  if (!exit_.ok()) *status.mutable_log_tail() = {tail_.begin(), tail_.end()};
  return status;
}

}  // namespace bert::agent
