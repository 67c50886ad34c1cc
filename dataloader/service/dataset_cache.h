// The datasets under a dataloader's --data-root, opened when first asked for.
#ifndef BERT_DATALOADER_SERVICE_DATASET_CACHE_H_
#define BERT_DATALOADER_SERVICE_DATASET_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/sampling/row_index.h"

namespace bert::loader {

// An opened dataset with the row indexes made for it so far. Thread-safe.
class ServedDataset {
 public:
  // `index_directory` holds row indexes, of this and of other datasets; empty for none. `on_damage` is called once, by
  // whoever finds the first damage.
  ServedDataset(std::shared_ptr<const corpus::Dataset> dataset, std::string index_directory,
                std::function<void()> on_damage)
      : dataset_(std::move(dataset)), index_directory_(std::move(index_directory)), on_damage_(std::move(on_damage)) {}

  const corpus::Dataset& dataset() const { return *dataset_; }

  // Mapped from the index directory; where it has none, or a damaged one, made in time proportional to the documents
  // and written there for the next time. Where that fails it stays in memory. The latest few used are kept. Errors as
  // RowIndex::Build.
  absl::StatusOr<std::shared_ptr<const sampling::RowIndex>> Rows(corpus::SplitKind split, int32_t max_seq_len,
                                                                 sampling::RowFormat format);

  // Has everyone who serves it stop: from now on damage() is `why`. What was said first counts.
  void MarkDamaged(const absl::Status& why);
  // OK while no damage has been found.
  absl::Status damage() const;
  // Whether a file of the dataset has been written to or replaced since the damage was found.
  bool ChangedSinceDamage() const;

  // Reads every shard again, in pieces of at most `piece_bytes`, with `pause` called behind each, which returns false
  // to stop. DATA_LOSS names the shard that is no longer what was built; the dataset is then marked as damaged.
  absl::Status VerifyShards(size_t piece_bytes, const std::function<bool(size_t)>& pause);

 private:
  struct Index {
    corpus::SplitKind split;
    std::shared_ptr<const sampling::RowIndex> rows;
  };

  absl::StatusOr<std::shared_ptr<const sampling::RowIndex>> LoadOrBuild(corpus::SplitKind split, int32_t max_seq_len,
                                                                        sampling::RowFormat format) const;
  // Of the manifest and the shards: size, time and place of each.
  std::string FileState() const;

  const std::shared_ptr<const corpus::Dataset> dataset_;
  const std::string index_directory_;
  const std::function<void()> on_damage_;
  mutable Mutex damage_mutex_;
  absl::Status damage_ ABSL_GUARDED_BY(damage_mutex_);
  std::string state_when_damaged_ ABSL_GUARDED_BY(damage_mutex_);
  // Held while an index is made: whoever else wants it waits for the same one.
  Mutex mutex_;
  std::list<Index> indexes_ ABSL_GUARDED_BY(mutex_);  // Latest used first.
};

// Keeps the latest used datasets open. Thread-safe.
class DatasetCache {
 public:
  // `capacity` datasets stay open when nobody uses them. `index_directory` is made when first needed; empty: row
  // indexes stay in memory. `on_damage` is called for each dataset that is found damaged while it is open, from any
  // thread. NOT_FOUND: `root` is no directory.
  static absl::StatusOr<std::unique_ptr<DatasetCache>> Create(
      const std::string& root, int capacity, const std::string& index_directory = "",
      std::function<void()> on_damage = [] {});

  // The dataset in folder `name` of the root, every shard checked when it is first opened (which reads it whole), and
  // opened again when its manifest has changed since. `digest` may be empty: any.
  // INVALID_ARGUMENT: the name is empty, absolute, or leaves the root by ".." or a link. FAILED_PRECONDITION: it has
  // another digest. DATA_LOSS: damage was found while it was served, and its files are as they were then. Else as
  // corpus::Dataset::Open.
  absl::StatusOr<std::shared_ptr<ServedDataset>> Get(const std::string& name, const std::string& digest);

  // Datasets held open now.
  int64_t size() const;
  // The datasets themselves; waits for those that are being opened.
  std::vector<std::shared_ptr<ServedDataset>> Opened() const;

 private:
  // One folder; outlives its eviction as long as somebody opens it.
  struct Entry {
    std::string path;
    Mutex mutex;  // Held while the dataset is opened.
    std::shared_ptr<ServedDataset> served ABSL_GUARDED_BY(mutex);
  };

  DatasetCache(std::string root, int capacity, std::string index_directory, std::function<void()> on_damage)
      : root_(std::move(root)),
        capacity_(capacity),
        index_directory_(std::move(index_directory)),
        on_damage_(std::move(on_damage)) {}
  absl::StatusOr<std::string> Resolve(const std::string& name) const;
  std::shared_ptr<Entry> FindOrAdd(const std::string& path);
  void Forget(const std::shared_ptr<Entry>& entry);

  const std::string root_;  // Canonical.
  const int capacity_;
  const std::string index_directory_;
  const std::function<void()> on_damage_;
  mutable Mutex mutex_;
  std::list<std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);  // Latest used first.
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_DATASET_CACHE_H_
