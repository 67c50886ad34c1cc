#include "dataloader/documents/document_stream.h"

#include <pthread.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace bert::documents {
namespace {

constexpr int64_t kQueuedBytesPerReader = 4 << 20;
// What an item costs besides its text; bounds how many small ones are in a batch, and how many small batches wait.
constexpr int64_t kItemBytes = 64;
constexpr int64_t kBatchOverheadBytes = 1 << 14;

// Moves items into `batch` until it is full or the file ends; counts them in `*items`.
absl::Status FillBatch(DocumentReader& reader, int64_t batch_bytes, size_t file, int64_t* items, DocumentBatch* batch,
                       int64_t* bytes) {
  while (*bytes < batch_bytes) {
    ASSIGN_OR_RETURN(std::optional<Item> item, reader.Next());
    if (!item) {
      ASSIGN_OR_RETURN(batch->end, reader.Finish());
      batch->bytes_read = batch->end->bytes;
      batch->next = {.file = file + 1, .items = 0};
      return absl::OkStatus();
    }
    ++*items;
    if (Fault* fault = std::get_if<Fault>(&*item)) {
      *bytes += kItemBytes + static_cast<int64_t>(fault->message.size());
      batch->faults.push_back(std::move(*fault));
    } else {
      auto& document = std::get<std::string>(*item);
      *bytes += kItemBytes + static_cast<int64_t>(document.size());
      batch->documents.push_back(std::move(document));
    }
  }
  batch->bytes_read = reader.bytes_read();
  batch->next = {.file = file, .items = *items};
  return absl::OkStatus();
}

}  // namespace

DocumentStream::DocumentStream(std::vector<InputFile> files, int readers, Position start, int64_t batch_bytes)
    : files_(std::move(files)),
      start_(start),
      batch_bytes_(batch_bytes),
      queued_bytes_max_(kQueuedBytesPerReader * readers),
      next_to_read_(start.file),
      current_(start.file) {
  BERT_CHECK(readers >= 1 && start.file <= files_.size() && batch_bytes >= 1);
  for (int i = 0; i < readers; ++i) {
    threads_.emplace_back([this] {
      pthread_setname_np(pthread_self(), "read-documents");
      ReadFiles();
    });
  }
}

DocumentStream::~DocumentStream() {
  Stop();
  for (std::thread& thread : threads_) thread.join();
}

void DocumentStream::Stop() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  changed_.SignalAll();
}

void DocumentStream::ReadFiles() {
  while (true) {
    size_t file = 0;
    {
      MutexLock lock(&mutex_);
      // Small files would otherwise all be read before the first is given out.
      while (!stopped_ && next_to_read_ != current_ && queued_bytes_ >= queued_bytes_max_) changed_.Wait(&mutex_);
      if (stopped_ || next_to_read_ == files_.size()) return;
      file = next_to_read_++;
    }
    ReadFile(file);
  }
}

void DocumentStream::ReadFile(size_t file) {
  int64_t items = 0;
  absl::StatusOr<std::unique_ptr<DocumentReader>> reader = OpenDocuments(files_[file]);
  if (!reader.ok()) {
    Push(file, reader.status(), 0);
    return;
  }
  if (file == start_.file) {
    for (; items < start_.items; ++items) {
      const absl::StatusOr<std::optional<Item>> skipped = (*reader)->Next();
      if (!skipped.ok()) {
        Push(file, skipped.status(), 0);
        return;
      }
    }
  }
  while (true) {
    DocumentBatch batch;
    batch.file = file;
    int64_t bytes = 0;
    const absl::Status filled = FillBatch(**reader, batch_bytes_, file, &items, &batch, &bytes);
    if (!filled.ok()) {
      // What was read before the error is still given out: a build keeps it.
      batch.next = {.file = file, .items = items};
      batch.bytes_read = (*reader)->bytes_read();
      if (Push(file, std::move(batch), bytes)) Push(file, filled, 0);
      return;
    }
    const bool last = batch.end.has_value();
    if (!Push(file, std::move(batch), bytes) || last) return;
  }
}

bool DocumentStream::Push(size_t file, Result result, int64_t text_bytes) {
  const int64_t bytes = text_bytes + kBatchOverheadBytes;
  MutexLock lock(&mutex_);
  // The file that is given out may always have a batch, so that files ahead of it cannot hold it up.
  while (!stopped_ && queued_bytes_ >= queued_bytes_max_ && !(file == current_ && queues_[file].empty())) {
    changed_.Wait(&mutex_);
  }
  if (stopped_) return false;
  queues_[file].push_back({.result = std::move(result), .bytes = bytes});
  queued_bytes_ += bytes;
  changed_.SignalAll();
  return true;
}

absl::StatusOr<std::optional<DocumentBatch>> DocumentStream::Next() {
  MutexLock lock(&mutex_);
  if (current_ == files_.size()) return std::nullopt;
  while (!stopped_ && queues_[current_].empty()) changed_.Wait(&mutex_);
  if (stopped_) return absl::CancelledError("reading was stopped");
  Queued queued = std::move(queues_[current_].front());
  queues_[current_].pop_front();
  queued_bytes_ -= queued.bytes;
  if (!queued.result.ok()) {
    stopped_ = true;
  } else if (queued.result->end.has_value()) {
    queues_.erase(current_);
    ++current_;
  }
  changed_.SignalAll();
  RETURN_IF_ERROR(queued.result.status());
  return *std::move(queued.result);
}

}  // namespace bert::documents
