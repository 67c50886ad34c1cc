// A file that only ever holds whole records, even where the disk is full in between.
#ifndef BERT_WORKER_RECORD_WHOLE_RECORDS_H_
#define BERT_WORKER_RECORD_WHOLE_RECORDS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bert::record {

// Unlike corpus::AppendFile it goes on after an error. Not thread-safe.
class WholeRecords {
 public:
  // Opens `path` behind what it holds; makes it where there is none. Errors of common/files.h, with the path.
  static absl::StatusOr<std::unique_ptr<WholeRecords>> Open(const std::string& path);
  ~WholeRecords();
  WholeRecords(const WholeRecords&) = delete;
  WholeRecords& operator=(const WholeRecords&) = delete;

  // All of `bytes`, or an error of common/files.h and the file is as it was.
  absl::Status Append(std::string_view bytes);

 private:
  WholeRecords(std::string path, int fd, int64_t size);
  absl::Status CutBack();

  const std::string path_;
  const int fd_;
  int64_t size_;       // Of whole records.
  bool torn_ = false;  // There may be more behind them.
};

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_WHOLE_RECORDS_H_
