// A directory that appears under its name complete, or not at all.
#ifndef BERT_DATALOADER_CORPUS_STAGED_DIRECTORY_H_
#define BERT_DATALOADER_CORPUS_STAGED_DIRECTORY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bert::corpus {

// Built beside its place as "<name>.partial" and renamed into it by Commit(). Destroyed before that, it removes what
// was built, unless Keep() was called; after a kill, the remains stay beside the place for the next StagedDirectory of
// that name. A lock on the directory keeps two processes from building the same one. Not thread-safe.
class StagedDirectory {
 public:
  // `path` in its simplest form, without a slash at the end. INVALID_ARGUMENT: it is no name for a new directory.
  static absl::StatusOr<std::string> Place(const std::string& path);

  // Makes the parents of `path`, and a directory to build in with what an earlier owner left there.
  // FAILED_PRECONDITION: another process is building it.
  static absl::StatusOr<std::unique_ptr<StagedDirectory>> Open(const std::string& path);
  // The same, empty.
  static absl::StatusOr<std::unique_ptr<StagedDirectory>> Create(const std::string& path);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // Where to build. Files and sub-directories must be synced before Commit().
  const std::string& staging_path() const { return staging_path_; }

  // Removes everything in it.
  absl::Status Clear();
  // Leaves what was built to a later owner.
  void Keep() { keep_ = true; }

  // Puts the directory in its place, durably. What was there is replaced in one step and then removed.
  absl::Status Commit();

 private:
  StagedDirectory(std::string path, std::string staging_path, int fd);

  const std::string path_;
  const std::string staging_path_;
  bool keep_ = false;
  int fd_;  // Holds the lock; -1 once committed.
};

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_STAGED_DIRECTORY_H_
