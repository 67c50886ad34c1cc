// Looks for damage that comes after a dataset has been opened.
#ifndef BERT_DATALOADER_SERVICE_DATASET_VERIFIER_H_
#define BERT_DATALOADER_SERVICE_DATASET_VERIFIER_H_

#include <cstddef>
#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "dataloader/service/dataset_cache.h"
#include "dataloader/service/loader_metrics.h"

namespace bert::loader {

// Reads every shard of the open datasets again from time to time, from a thread of its own until destroyed, slowly
// enough to leave the disk to the streams. What the page cache still holds is read from there: damage on the disk alone
// is found once the page has been read anew, by this or for a row. Thread-safe.
class DatasetVerifier {
 public:
  struct Options {
    // Between the end of one round and the begin of the next; zero: rounds come only from VerifyNow.
    absl::Duration interval = absl::Minutes(10);
    int64_t bytes_per_second = 100 << 20;
  };

  // Both outlive it.
  DatasetVerifier(DatasetCache* datasets, const Options& options, LoaderMetrics* metrics);
  // Breaks off the round under way.
  ~DatasetVerifier();

  // One round, at full speed, by the calling thread.
  void VerifyNow();

 private:
  void Run();
  void Round(int64_t bytes_per_second);
  // Waits for as long as `bytes` take; false when stopping.
  bool Pause(size_t bytes, int64_t bytes_per_second);

  DatasetCache* const datasets_;
  const Options options_;
  LoaderMetrics* const metrics_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_DATASET_VERIFIER_H_
