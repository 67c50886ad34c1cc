#include "dataloader/corpus/encoding_pipeline.h"

#include <pthread.h>

#include <cmath>
#include <utility>

#include "common/check.h"
#include "common/status_macros.h"

namespace bert::corpus {
namespace {

int64_t CountWords(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return words;
}

}  // namespace

SplitKind SplitOf(std::string_view document, double validation_share) {
  // 53 bits of the hash as a fraction in [0, 1): exact in a double, so the comparison is the same everywhere.
  const double fraction = std::ldexp(static_cast<double>(StableHash(document, 0) >> 11), -53);
  return fraction < validation_share ? SplitKind::kValidation : SplitKind::kTrain;
}

EncodingPipeline::EncodingPipeline(documents::DocumentStream* stream, const text::Tokenizer* tokenizer, Options options)
    : stream_(stream),
      tokenizer_(tokenizer),
      validation_share_(options.validation_share),
      batches_max_(2 * int64_t{options.threads}) {
  BERT_CHECK(options.threads >= 1);
  {
    MutexLock lock(&take_mutex_);
    for (const DocumentDigest& digest : options.seen) seen_.Insert(digest);
  }
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this] {
      pthread_setname_np(pthread_self(), "encode");
      Run();
    });
  }
}

EncodingPipeline::~EncodingPipeline() {
  stream_->Stop();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<std::optional<EncodedBatch>> EncodingPipeline::Next() {
  MutexLock lock(&mutex_);
  while (finished_.empty() || finished_.begin()->first != given_) {
    if (ended_ && given_ == taken_) return std::nullopt;
    changed_.Wait(&mutex_);
  }
  absl::StatusOr<EncodedBatch> batch = std::move(finished_.begin()->second);
  finished_.erase(finished_.begin());
  ++given_;
  changed_.SignalAll();
  RETURN_IF_ERROR(batch.status());
  return *std::move(batch);
}

void EncodingPipeline::Run() {
  int64_t number = 0;
  while (std::optional<Work> work = Take(&number)) {
    Encode(*work);
    MutexLock lock(&mutex_);
    finished_.emplace(number, std::move(work->batch));
    changed_.SignalAll();
  }
}

std::optional<EncodingPipeline::Work> EncodingPipeline::Take(int64_t* number) {
  MutexLock take_lock(&take_mutex_);
  {
    MutexLock lock(&mutex_);
    while (!stopping_ && !ended_ && taken_ - given_ >= batches_max_) changed_.Wait(&mutex_);
    if (stopping_ || ended_) return std::nullopt;
  }
  absl::StatusOr<std::optional<documents::DocumentBatch>> batch = stream_->Next();
  std::optional<Work> work;
  if (batch.ok() && batch->has_value()) work = Sift(**std::move(batch));
  MutexLock lock(&mutex_);
  if (work) {
    *number = taken_++;
    return work;
  }
  if (!batch.ok()) finished_.emplace(taken_++, batch.status());
  ended_ = true;
  changed_.SignalAll();
  return std::nullopt;
}

EncodingPipeline::Work EncodingPipeline::Sift(documents::DocumentBatch batch) {
  Work work{.batch = {.file = batch.file,
                      .next = batch.next,
                      .bytes_read = batch.bytes_read,
                      .end = std::move(batch.end),
                      .faults = std::move(batch.faults),
                      .documents = {},
                      .token_ids = {},
                      .digests = {}},
            .texts = {}};
  for (std::string& text : batch.documents) {
    if (text.empty()) {
      ++work.batch.empty;
      continue;
    }
    const DocumentDigest digest = DigestOf(text);
    if (!seen_.Insert(digest)) {
      ++work.batch.duplicates;
      continue;
    }
    work.batch.digests.push_back(digest);
    work.texts.push_back(std::move(text));
  }
  return work;
}

void EncodingPipeline::Encode(Work& work) const {
  for (const std::string& text : work.texts) {
    const size_t before = work.batch.token_ids.size();
    tokenizer_->Encode(text, &work.batch.token_ids, text::SpecialTokenText::kIsText);
    const size_t tokens = work.batch.token_ids.size() - before;
    if (tokens == 0) {
      ++work.batch.empty;
      continue;
    }
    work.batch.documents.push_back({.split = SplitOf(text, validation_share_),
                                    .text_bytes = static_cast<int64_t>(text.size()),
                                    .words = CountWords(text),
                                    .tokens = static_cast<int64_t>(tokens)});
  }
  work.texts.clear();
}

}  // namespace bert::corpus
