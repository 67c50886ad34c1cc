// Files that are either wholly there after a crash or not at all.
#ifndef BERT_COMMON_FILES_H_
#define BERT_COMMON_FILES_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bert {

// NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk full, quota, too many files) or INTERNAL, with the system's
// words behind `what`.
absl::Status SystemError(int error_number, absl::string_view what);

absl::StatusOr<std::string> ReadFile(const std::string& path);

// Writes `content` to a temporary name in the same directory, syncs it, renames it to `path` and syncs the directory.
// On an error the temporary file is gone and `path` is as it was.
absl::Status WriteFileDurably(const std::string& path, std::string_view content);

// Writes `content` to `path`, over what was there, and syncs the file: for files inside a directory that is not
// visible yet.
absl::Status WriteFile(const std::string& path, std::string_view content);

absl::Status SyncFile(const std::string& path);
absl::Status SyncDirectory(const std::string& path);
// rename(2), then syncs the directory of `to`.
absl::Status RenameDurably(const std::string& from, const std::string& to);
// mkdir -p.
absl::Status MakeDirectories(const std::string& path);
// rm -rf; what is not there is no error.
absl::Status RemoveTree(const std::string& path);

}  // namespace bert

#endif  // BERT_COMMON_FILES_H_
