#include "dataloader/service/dataset_cache.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace bert::loader {
namespace {

namespace fs = std::filesystem;

constexpr size_t kIndexesKept = 8;

bool IsInside(const fs::path& path, const fs::path& root) {
  const auto [root_end, unused] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return root_end == root.end() && path != root;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const sampling::RowIndex>> ServedDataset::Rows(corpus::SplitKind split,
                                                                              int32_t max_seq_len) {
  MutexLock lock(&mutex_);
  const auto found = std::find_if(indexes_.begin(), indexes_.end(), [&](const Index& index) {
    return index.split == split && index.rows->max_seq_len() == max_seq_len;
  });
  if (found != indexes_.end()) {
    indexes_.splice(indexes_.begin(), indexes_, found);
    return indexes_.front().rows;
  }
  ASSIGN_OR_RETURN(auto rows, sampling::RowIndex::Build(dataset_, split, max_seq_len));
  indexes_.push_front({split, rows});
  if (indexes_.size() > kIndexesKept) indexes_.pop_back();
  return rows;
}

absl::StatusOr<std::unique_ptr<DatasetCache>> DatasetCache::Create(const std::string& root, int capacity) {
  std::error_code error;
  const fs::path canonical = fs::canonical(root, error);
  if (error || !fs::is_directory(canonical, error)) {
    return absl::NotFoundError(absl::StrCat("data root ", root,
                                            " is no directory; make it, or name the folder that "
                                            "holds the datasets with --data-root"));
  }
  return std::unique_ptr<DatasetCache>(new DatasetCache(canonical.string(), capacity));
}

absl::StatusOr<std::string> DatasetCache::Resolve(const std::string& name) const {
  const fs::path relative(name);
  const bool climbs = std::find(relative.begin(), relative.end(), "..") != relative.end();
  if (name.empty() || relative.is_absolute() || climbs || name.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("dataset '", name, "': write the folder's name relative to the data root, without '..'"));
  }
  std::error_code error;
  const fs::path canonical = fs::canonical(fs::path(root_) / relative, error);
  if (error) return absl::NotFoundError(absl::StrCat("no dataset '", name, "' under the data root ", root_));
  if (!IsInside(canonical, root_)) {
    return absl::InvalidArgumentError(absl::StrCat("dataset '", name, "' is not under the data root"));
  }
  return canonical.string();
}

std::shared_ptr<DatasetCache::Entry> DatasetCache::FindOrAdd(const std::string& path) {
  MutexLock lock(&mutex_);
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry->path == path; });
  if (found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
    return entries_.front();
  }
  entries_.push_front(std::make_shared<Entry>());
  entries_.front()->path = path;
  if (static_cast<int>(entries_.size()) > capacity_) entries_.pop_back();
  return entries_.front();
}

void DatasetCache::Forget(const std::shared_ptr<Entry>& entry) {
  MutexLock lock(&mutex_);
  entries_.remove(entry);
}

absl::StatusOr<std::shared_ptr<ServedDataset>> DatasetCache::Get(const std::string& name, const std::string& digest) {
  ASSIGN_OR_RETURN(const std::string path, Resolve(name));
  const std::shared_ptr<Entry> entry = FindOrAdd(path);
  MutexLock lock(&entry->mutex);
  // Cheap, and an open dataset may have been replaced by another build since.
  const absl::StatusOr<corpus::Manifest> manifest = corpus::ReadManifest(path);
  if (!manifest.ok()) {
    Forget(entry);
    return manifest.status();
  }
  if (!digest.empty() && manifest->digest != digest) {
    return absl::FailedPreconditionError(absl::StrCat("dataset '", name, "' has digest ", manifest->digest,
                                                      ", not the wanted ", digest,
                                                      ": it has been built anew; bring the old one back, or drop "
                                                      "data.dataset_digest and start a new job"));
  }
  if (entry->served == nullptr || entry->served->dataset().digest() != manifest->digest) {
    auto opened = corpus::Dataset::Open(path);
    if (!opened.ok()) {
      Forget(entry);
      spdlog::error("cannot open dataset={}: {}", name, std::string(opened.status().message()));
      return opened.status();
    }
    spdlog::info("opened dataset={} digest={} train_tokens={} validation_tokens={}", name, (*opened)->digest(),
                 (*opened)->manifest().train.tokens, (*opened)->manifest().validation.tokens);
    entry->served = std::make_shared<ServedDataset>(*std::move(opened));
  }
  // Between reading the manifest and opening, it may have been replaced once more.
  if (!digest.empty() && entry->served->dataset().digest() != digest) {
    return absl::UnavailableError(absl::StrCat("dataset '", name, "' is being replaced"));
  }
  return entry->served;
}

int64_t DatasetCache::size() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(entries_.size());
}

}  // namespace bert::loader
