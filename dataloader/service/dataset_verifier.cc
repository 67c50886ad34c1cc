#include "dataloader/service/dataset_verifier.h"

#include <pthread.h>

#include <limits>
#include <memory>

#include "absl/time/clock.h"

namespace bert::loader {
namespace {

constexpr size_t kPieceBytes = 4 << 20;
constexpr int64_t kFullSpeed = std::numeric_limits<int64_t>::max();

}  // namespace

DatasetVerifier::DatasetVerifier(DatasetCache* datasets, const Options& options, LoaderMetrics* metrics)
    : datasets_(datasets), options_(options), metrics_(metrics) {
  if (options_.interval <= absl::ZeroDuration()) return;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "verifier");
    Run();
  });
}

DatasetVerifier::~DatasetVerifier() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void DatasetVerifier::VerifyNow() { Round(kFullSpeed); }

void DatasetVerifier::Run() {
  while (true) {
    const absl::Time next = absl::Now() + options_.interval;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && absl::Now() < next) changed_.WaitFor(&mutex_, next - absl::Now());
      if (stopping_) return;
    }
    Round(options_.bytes_per_second);
  }
}

void DatasetVerifier::Round(int64_t bytes_per_second) {
  for (const std::shared_ptr<ServedDataset>& served : datasets_->Opened()) {
    if (!served->damage().ok()) continue;
    // It marks and counts what it finds.
    served->VerifyShards(kPieceBytes, [&](size_t bytes) { return Pause(bytes, bytes_per_second); }).IgnoreError();
  }
}

bool DatasetVerifier::Pause(size_t bytes, int64_t bytes_per_second) {
  metrics_->verified_bytes.Increment(static_cast<double>(bytes));
  const absl::Time until =
      absl::Now() + absl::Seconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second));
  MutexLock lock(&mutex_);
  while (!stopping_ && absl::Now() < until) changed_.WaitFor(&mutex_, until - absl::Now());
  return !stopping_;
}

}  // namespace bert::loader
