#include "worker/trainer/gradient_buckets.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace bert::trainer {

GradientBuckets::GradientBuckets(const at::Tensor& grad, collective::Collective* group, const Options& options)
    : grad_(grad),
      group_(group),
      bucket_elements_(options.bucket_elements),
      overlap_(options.overlap && grad.is_cpu() && group->world_size() > 1),
      finished_from_(0),
      reduced_from_(0) {
  BERT_CHECK(bucket_elements_ > 0 && grad.dim() == 1) << "buckets of " << bucket_elements_ << " elements";
  if (overlap_) thread_ = std::thread([this] { Run(); });
}

GradientBuckets::~GradientBuckets() {
  if (!overlap_) return;
  bool idle = false;
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    idle = reduced_from_ == 0;
    changed_.SignalAll();
  }
  if (!idle) group_->Abort();
  thread_.join();
}

void GradientBuckets::Start() {
  MutexLock lock(&mutex_);
  BERT_CHECK(reduced_from_ == 0 || !status_.ok()) << "a step begins before the last has ended";
  finished_from_ = reduced_from_ = grad_.numel();
}

void GradientBuckets::FinishedFrom(int64_t offset) {
  MutexLock lock(&mutex_);
  BERT_CHECK(offset <= finished_from_) << offset << " after " << finished_from_;
  finished_from_ = offset;
  changed_.SignalAll();
}

absl::Status GradientBuckets::Finish() {
  if (!overlap_) {
    absl::Status status;
    for (int64_t end = grad_.numel(); end > 0 && status.ok(); end -= bucket_elements_) status = Reduce(end);
    MutexLock lock(&mutex_);
    status_ = status;
    if (status_.ok()) reduced_from_ = 0;
    return status_;
  }
  MutexLock lock(&mutex_);
  BERT_CHECK(finished_from_ == 0) << "the gradient is complete only from " << finished_from_;
  while (reduced_from_ > 0 && status_.ok()) changed_.Wait(&mutex_);
  return status_;
}

absl::Status GradientBuckets::Reduce(int64_t end) {
  return group_->AllReduceSum(grad_.slice(0, std::max<int64_t>(end - bucket_elements_, 0), end));
}

void GradientBuckets::Run() {
  MutexLock lock(&mutex_);
  while (true) {
    const int64_t end = reduced_from_;
    const int64_t begin = std::max<int64_t>(end - bucket_elements_, 0);
    if (stop_) return;
    if (end == 0 || finished_from_ > begin || !status_.ok()) {
      changed_.Wait(&mutex_);
      continue;
    }
    mutex_.Unlock();
    absl::Status status = Reduce(end);
    mutex_.Lock();
    status_ = std::move(status);
    if (status_.ok()) reduced_from_ = begin;
    changed_.SignalAll();
  }
}

}  // namespace bert::trainer
