// The all-reduce of the flat gradient, piece by piece, while the backward pass still computes the rest.
#ifndef BERT_WORKER_TRAINER_GRADIENT_BUCKETS_H_
#define BERT_WORKER_TRAINER_GRADIENT_BUCKETS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "worker/collective/collective.h"

namespace bert::trainer {

// The backward pass finishes the flat buffer from its end, so buckets go in that order, the word embeddings' last. How
// the buffer is cut depends on its size alone: all ranks, whatever rows they have, reduce the same buckets in the same
// order, and the sums are the same bits whether they overlap with computing or not.
//
// With `overlap` a thread of its own reduces; the group belongs to it from Start to Finish, and only Abort may be
// called meanwhile. Without, and for CUDA tensors, whose stream the reduction would share, Finish reduces.
//
// Start, FinishedFrom and Finish are called from one thread, in this order, once a step.
class GradientBuckets {
 public:
  struct Options {
    int64_t bucket_elements = 1;
    bool overlap = true;
  };

  // `grad` fp32 [n]. Borrows the group.
  GradientBuckets(const at::Tensor& grad, collective::Collective* group, const Options& options);
  // In the middle of a step aborts the group, so that the thread does not wait for the peers.
  ~GradientBuckets();

  void Start();
  // This rank's sums of grad[offset, n) are complete. 0 says so of all.
  void FinishedFrom(int64_t offset);
  // Waits until every bucket holds the sum over all ranks. Errors as the group's; the buffer's content is undefined
  // then.
  absl::Status Finish();

 private:
  absl::Status Reduce(int64_t end);
  void Run();

  const at::Tensor grad_;
  collective::Collective* const group_;
  const int64_t bucket_elements_;
  const bool overlap_;

  Mutex mutex_;
  CondVar changed_;
  int64_t finished_from_ ABSL_GUARDED_BY(mutex_);
  int64_t reduced_from_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_GRADIENT_BUCKETS_H_
