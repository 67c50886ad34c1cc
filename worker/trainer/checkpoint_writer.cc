#include "worker/trainer/checkpoint_writer.h"

#include <ATen/ops/empty.h>
#include <pthread.h>
#include <sys/statvfs.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/backoff.h"
#include "common/check.h"
#include "common/entropy.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/trainer/log_line.h"

namespace bert::trainer {
namespace {

constexpr absl::Duration kRetryInitial = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(5);

std::string Mebibytes(double bytes) { return absl::StrFormat("%.1f MiB", bytes / (1 << 20)); }

// The coordinator has answered that it does not commit. Any other error may have hidden the answer that it did.
bool IsRefusal(const absl::Status& status) {
  return status.code() == absl::StatusCode::kFailedPrecondition || status.code() == absl::StatusCode::kNotFound ||
         status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kAlreadyExists;
}

// What a person needs in order to make room.
absl::Status WithRemedy(const absl::Status& status, const CheckpointContent& content, const std::string& directory) {
  std::string room;
  struct statvfs info = {};
  if (statvfs(directory.c_str(), &info) == 0) {
    room = absl::StrCat(" (", Mebibytes(static_cast<double>(info.f_bavail) * info.f_frsize), " free)");
  }
  return absl::Status(
      status.code(),
      absl::StrCat(status.message(), "; a checkpoint needs ", Mebibytes(static_cast<double>(CheckpointBytes(content))),
                   " in ", directory, room, ": make room there, or start bert-worker with another --checkpoint-root"));
}

}  // namespace

CheckpointWriter::CheckpointWriter(Coordinator* coordinator, Options options)
    : coordinator_(coordinator), options_(std::move(options)) {
  content_.config = options_.config;
  content_.infos = options_.infos;
  content_.tokenizer_files = options_.tokenizer_files;
  content_.generation = options_.generation;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "checkpoint");
    Run();
  });
}

CheckpointWriter::~CheckpointWriter() {
  Cancel(absl::ZeroDuration());
  thread_.join();
}

bool CheckpointWriter::Idle() const {
  MutexLock lock(&mutex_);
  return !busy_;
}

void CheckpointWriter::Start(const TrainingState& state, const CheckpointTensors& tensors) {
  BERT_CHECK(Idle()) << "step " << state.step;
  content_.state = state;
  const auto copy = [](const at::Tensor& from, at::Tensor& to) {
    if (!to.defined()) to = at::empty(from.sizes(), at::kFloat);
    to.copy_(from);
  };
  copy(tensors.master, content_.tensors.master);
  copy(tensors.exp_avg, content_.tensors.exp_avg);
  copy(tensors.exp_avg_sq, content_.tensors.exp_avg_sq);
  MutexLock lock(&mutex_);
  busy_ = true;
  changed_.SignalAll();
}

absl::Status CheckpointWriter::Wait() {
  MutexLock lock(&mutex_);
  while (busy_) changed_.Wait(&mutex_);
  return last_;
}

bool CheckpointWriter::Cancel(absl::Duration timeout) {
  cancelled_ = true;
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  changed_.SignalAll();
  while (busy_ && absl::Now() < deadline) changed_.WaitFor(&mutex_, deadline - absl::Now());
  return !busy_;
}

void CheckpointWriter::Pause(absl::Duration duration) {
  const absl::Time deadline = absl::Now() + duration;
  MutexLock lock(&mutex_);
  while (!cancelled_ && absl::Now() < deadline) changed_.WaitFor(&mutex_, deadline - absl::Now());
}

void CheckpointWriter::Run() {
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (!busy_ && !cancelled_) changed_.Wait(&mutex_);
      if (!busy_) return;
    }
    const absl::Status status = Save();
    MutexLock lock(&mutex_);
    last_ = status;
    busy_ = false;
    changed_.SignalAll();
  }
}

absl::Status CheckpointWriter::Save() {
  const absl::Time start = absl::Now();
  const int64_t step = content_.state.step;
  absl::StatusOr<WrittenCheckpoint> written =
      WriteCheckpoint(content_, options_.job_directory, [this] { return cancelled_.load(); });
  if (!written.ok()) {
    if (written.status().code() == absl::StatusCode::kCancelled) return written.status();
    const absl::Status status = WithRemedy(written.status(), content_, options_.job_directory);
    LogError(absl::StrCat("checkpoint of step ", step, " is not saved: ", status.message()));
    return status;
  }
  const absl::Duration write_time = absl::Now() - start;
  if (const absl::Status status = Commit(*written); !status.ok()) {
    if (status.code() == absl::StatusCode::kCancelled) return status;
    LogError(absl::StrCat("checkpoint of step ", step, " is not committed: ", status.message()));
    return status;
  }
  LogInfo(absl::StrFormat("checkpoint of step %d saved to %s (%s, written in %.1f s)", step, written->directory,
                          Mebibytes(static_cast<double>(written->size_bytes)), absl::ToDoubleSeconds(write_time)));
  return absl::OkStatus();
}

absl::Status CheckpointWriter::Commit(const WrittenCheckpoint& written) {
  const CheckpointCommit commit = {.request_id = RandomToken(16),
                                   .step = content_.state.step,
                                   .directory = written.directory,
                                   .digest = written.digest,
                                   .size_bytes = written.size_bytes};
  Backoff backoff(kRetryInitial, kRetryMax, RandomSeed());
  // Of any attempt: what a later one says does not undo it.
  bool in_doubt = false;
  absl::Status status = absl::CancelledError("stopping");
  while (!cancelled_) {
    if (!options_.steps_reported(commit.step)) continue;
    const absl::StatusOr<std::vector<std::string>> dropped = coordinator_->CommitCheckpoint(commit);
    if (dropped.ok()) {
      for (const std::string& directory : *dropped) DeleteDropped(directory);
      return absl::OkStatus();
    }
    in_doubt |= !IsRefusal(dropped.status());
    if (!IsTransient(dropped.status())) {
      status = dropped.status();
      break;
    }
    Pause(backoff.Next());
  }
  if (!in_doubt) Remove(written.directory);
  return status;
}

// Only what is a checkpoint of this job by its name, whatever the answer says.
void CheckpointWriter::DeleteDropped(const std::string& directory) const {
  const std::filesystem::path path(directory);
  const bool of_this_job = path.parent_path().filename() == std::filesystem::path(options_.job_directory).filename() &&
                           path.filename().string().starts_with("step-") && path.lexically_normal() == path;
  if (!of_this_job) {
    LogWarning(absl::StrCat("not deleting ", directory, ": it is no checkpoint of this job"));
    return;
  }
  Remove(directory);
}

void CheckpointWriter::Remove(const std::string& directory) const {
  if (const absl::Status status = RemoveTree(directory); !status.ok()) {
    LogWarning(absl::StrCat("a checkpoint that does not exist for anyone stays: ", status.message()));
  }
}

}  // namespace bert::trainer
