// The documents of many files, in order, read ahead by a few threads.
#ifndef BERT_DATALOADER_DOCUMENTS_DOCUMENT_STREAM_H_
#define BERT_DATALOADER_DOCUMENTS_DOCUMENT_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/digest.h"
#include "common/mutex.h"
#include "dataloader/documents/document_reader.h"

namespace bert::documents {

// Behind that many items of that file.
struct Position {
  size_t file = 0;
  int64_t items = 0;

  friend bool operator==(const Position&, const Position&) = default;
};

// Some documents of one file.
struct DocumentBatch {
  size_t file = 0;
  std::vector<std::string> documents;
  std::vector<Fault> faults;
  // Where reading goes on behind this batch: in the file, or at the start of the next one.
  Position next;
  // Of the file on disk, behind this batch.
  int64_t bytes_read = 0;
  // With the file's last batch.
  std::optional<FileDigest> end;
};

// Files are read by `readers` threads, each a file at a time, and given out in the files' order whatever the threads
// do. Memory: 4 MiB a reader, and the longest documents. Next() may be called by one thread at a time.
class DocumentStream {
 public:
  static constexpr int64_t kBatchBytes = 1 << 20;

  // Starts reading at `start`, whose file is read again up to there. Batches end where they reach `batch_bytes`.
  DocumentStream(std::vector<InputFile> files, int readers, Position start = {}, int64_t batch_bytes = kBatchBytes);
  // Stops reading.
  ~DocumentStream();
  DocumentStream(const DocumentStream&) = delete;
  DocumentStream& operator=(const DocumentStream&) = delete;

  // nullopt behind the last file. Errors as DocumentReader::Next; nothing follows one. CANCELLED: after Stop().
  absl::StatusOr<std::optional<DocumentBatch>> Next();

  // Ends reading; a call of Next() that waits returns. Thread-safe.
  void Stop();

 private:
  using Result = absl::StatusOr<DocumentBatch>;

  void ReadFiles();
  // Reads one file to its end, or until reading ends.
  void ReadFile(size_t file);
  // False when reading has ended.
  bool Push(size_t file, Result result, int64_t text_bytes);

  const std::vector<InputFile> files_;
  const Position start_;
  const int64_t batch_bytes_;
  const int64_t queued_bytes_max_;

  Mutex mutex_;
  CondVar changed_;
  struct Queued {
    Result result;
    int64_t bytes;
  };
  // By file, of those that are being read or wait to be given out.
  std::map<size_t, std::deque<Queued>> queues_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t next_to_read_ ABSL_GUARDED_BY(mutex_);
  size_t current_ ABSL_GUARDED_BY(mutex_);  // The file that Next() gives out.
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_DOCUMENT_STREAM_H_
