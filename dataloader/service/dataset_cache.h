// The datasets under a dataloader's --data-root, opened when first asked for.
#ifndef BERT_DATALOADER_SERVICE_DATASET_CACHE_H_
#define BERT_DATALOADER_SERVICE_DATASET_CACHE_H_

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/sampling/row_index.h"

namespace bert::loader {

// An opened dataset with the row indexes made for it so far. Thread-safe.
class ServedDataset {
 public:
  explicit ServedDataset(std::shared_ptr<const corpus::Dataset> dataset) : dataset_(std::move(dataset)) {}

  const corpus::Dataset& dataset() const { return *dataset_; }

  // Made at the first call for (split, max_seq_len), in time proportional to the documents; the latest few are kept.
  // Errors as RowIndex::Build.
  absl::StatusOr<std::shared_ptr<const sampling::RowIndex>> Rows(corpus::SplitKind split, int32_t max_seq_len);

 private:
  struct Index {
    corpus::SplitKind split;
    std::shared_ptr<const sampling::RowIndex> rows;
  };

  const std::shared_ptr<const corpus::Dataset> dataset_;
  // Held while an index is made: whoever else wants it waits for the same one.
  Mutex mutex_;
  std::list<Index> indexes_ ABSL_GUARDED_BY(mutex_);  // Latest used first.
};

// Keeps the latest used datasets open. Thread-safe.
class DatasetCache {
 public:
  // `capacity` datasets stay open when nobody uses them. NOT_FOUND: `root` is no directory.
  static absl::StatusOr<std::unique_ptr<DatasetCache>> Create(const std::string& root, int capacity);

  // The dataset in folder `name` of the root, every shard checked when it is first opened (which reads it whole), and
  // opened again when its manifest has changed since. `digest` may be empty: any.
  // INVALID_ARGUMENT: the name is empty, absolute, or leaves the root by ".." or a link. FAILED_PRECONDITION: it has
  // another digest. Else as corpus::Dataset::Open.
  absl::StatusOr<std::shared_ptr<ServedDataset>> Get(const std::string& name, const std::string& digest);

  // Datasets held open now.
  int64_t size() const;

 private:
  // One folder; outlives its eviction as long as somebody opens it.
  struct Entry {
    std::string path;
    Mutex mutex;  // Held while the dataset is opened.
    std::shared_ptr<ServedDataset> served ABSL_GUARDED_BY(mutex);
  };

  DatasetCache(std::string root, int capacity) : root_(std::move(root)), capacity_(capacity) {}
  absl::StatusOr<std::string> Resolve(const std::string& name) const;
  std::shared_ptr<Entry> FindOrAdd(const std::string& path);
  void Forget(const std::shared_ptr<Entry>& entry);

  const std::string root_;  // Canonical.
  const int capacity_;
  mutable Mutex mutex_;
  std::list<std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);  // Latest used first.
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_DATASET_CACHE_H_
