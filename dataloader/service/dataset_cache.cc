#include "dataloader/service/dataset_cache.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
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
                                                                              int32_t max_seq_len,
                                                                              sampling::RowFormat format) {
  MutexLock lock(&mutex_);
  indexes_.remove_if([](const Index& index) { return index.rows->lost(); });
  const auto found = std::find_if(indexes_.begin(), indexes_.end(), [&](const Index& index) {
    return index.split == split && index.rows->max_seq_len() == max_seq_len && index.rows->format() == format;
  });
  if (found != indexes_.end()) {
    indexes_.splice(indexes_.begin(), indexes_, found);
    return indexes_.front().rows;
  }
  ASSIGN_OR_RETURN(auto rows, LoadOrBuild(split, max_seq_len, format));
  indexes_.push_front({split, rows});
  if (indexes_.size() > kIndexesKept) indexes_.pop_back();
  return rows;
}

absl::StatusOr<std::shared_ptr<const sampling::RowIndex>> ServedDataset::LoadOrBuild(corpus::SplitKind split,
                                                                                     int32_t max_seq_len,
                                                                                     sampling::RowFormat format) const {
  const std::string path =
      absl::StrCat(index_directory_, "/", sampling::RowIndex::FileName(*dataset_, split, max_seq_len, format));
  if (!index_directory_.empty()) {
    auto loaded = sampling::RowIndex::Load(dataset_, split, max_seq_len, format, path);
    if (loaded.ok() || absl::IsInvalidArgument(loaded.status())) return loaded;
    if (!absl::IsNotFound(loaded.status())) {
      spdlog::warn("building a row index anew: {}", std::string(loaded.status().message()));
    }
  }
  ASSIGN_OR_RETURN(auto built, sampling::RowIndex::Build(dataset_, split, max_seq_len, format));
  if (index_directory_.empty() || built->image().empty()) return built;
  absl::Status written = MakeDirectories(index_directory_);
  if (written.ok()) written = WriteFileDurably(path, built->image());
  if (written.ok()) {
    // Mapped pages are shared by all loaders of a machine and can be dropped; the built ones cannot.
    auto mapped = sampling::RowIndex::Load(dataset_, split, max_seq_len, format, path);
    if (mapped.ok()) return mapped;
    written = mapped.status();
  }
  spdlog::warn("a row index stays in memory, and is built again next time bytes={}: {}", built->image().size(),
               std::string(written.message()));
  return built;
}

void ServedDataset::MarkDamaged(const absl::Status& why) {
  std::string state = FileState();
  MutexLock lock(&damage_mutex_);
  if (!damage_.ok()) return;
  on_damage_();
  spdlog::error("dataset={} digest={} is damaged and no longer served: {}", dataset_->directory(), dataset_->digest(),
                std::string(why.message()));
  damage_ = why;
  state_when_damaged_ = std::move(state);
}

absl::Status ServedDataset::damage() const {
  MutexLock lock(&damage_mutex_);
  return damage_;
}

bool ServedDataset::ChangedSinceDamage() const {
  const std::string state = FileState();
  MutexLock lock(&damage_mutex_);
  return state != state_when_damaged_;
}

std::string ServedDataset::FileState() const {
  std::string state;
  const auto add = [&](const std::string& name) {
    struct stat info = {};
    if (stat(absl::StrCat(dataset_->directory(), "/", name).c_str(), &info) != 0) info = {};
    absl::StrAppend(&state, name, " ", info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec, ".",
                    info.st_mtim.tv_nsec, "\n");
  };
  add(corpus::kManifestFile);
  for (const corpus::SplitEntry* split : {&dataset_->manifest().train, &dataset_->manifest().validation}) {
    for (const corpus::ShardInfo& shard : split->shards) add(shard.file);
  }
  return state;
}

absl::Status ServedDataset::VerifyShards(size_t piece_bytes, const std::function<bool(size_t)>& pause) {
  for (const auto kind : {corpus::SplitKind::kTrain, corpus::SplitKind::kValidation}) {
    const bool is_train = kind == corpus::SplitKind::kTrain;
    const corpus::SplitEntry& entry = is_train ? dataset_->manifest().train : dataset_->manifest().validation;
    const auto& shards = dataset_->split(kind).shards();
    for (size_t i = 0; i < shards.size(); ++i) {
      Digester digester;
      for (std::string_view rest = shards[i].contents(); !rest.empty();) {
        const std::string_view piece = rest.substr(0, piece_bytes);
        digester.Update(piece);
        rest.remove_prefix(piece.size());
        if (!pause(piece.size())) return absl::OkStatus();
      }
      if (const std::string digest = digester.Finish(); digest != entry.shards[i].digest) {
        const absl::Status damaged =
            absl::DataLossError(absl::StrCat(shards[i].path(), ": damaged since it was opened: digest is ", digest,
                                             ", the manifest says ", entry.shards[i].digest));
        MarkDamaged(damaged);
        return damaged;
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DatasetCache>> DatasetCache::Create(const std::string& root, int capacity,
                                                                   const std::string& index_directory,
                                                                   std::function<void()> on_damage) {
  std::error_code error;
  const fs::path canonical = fs::canonical(root, error);
  if (error || !fs::is_directory(canonical, error)) {
    return absl::NotFoundError(absl::StrCat("data root ", root,
                                            " is no directory; make it, or name the folder that "
                                            "holds the datasets with --data-root"));
  }
  return std::unique_ptr<DatasetCache>(
      new DatasetCache(canonical.string(), capacity, index_directory, std::move(on_damage)));
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
  if (entry->served != nullptr) {
    // To open it reads it whole: not for each client that asks again.
    const absl::Status damage = entry->served->damage();
    if (!damage.ok() && !entry->served->ChangedSinceDamage()) return damage;
    if (!damage.ok()) entry->served = nullptr;
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
    entry->served = std::make_shared<ServedDataset>(*std::move(opened), index_directory_, on_damage_);
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

std::vector<std::shared_ptr<ServedDataset>> DatasetCache::Opened() const {
  std::vector<std::shared_ptr<Entry>> entries;
  {
    MutexLock lock(&mutex_);
    entries.assign(entries_.begin(), entries_.end());
  }
  std::vector<std::shared_ptr<ServedDataset>> opened;
  for (const std::shared_ptr<Entry>& entry : entries) {
    MutexLock lock(&entry->mutex);
    if (entry->served != nullptr) opened.push_back(entry->served);
  }
  return opened;
}

}  // namespace bert::loader
