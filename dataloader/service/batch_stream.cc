#include "dataloader/service/batch_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/status_conversion.h"
#include "common/status_macros.h"
#include "dataloader/sampling/row_batch.h"

namespace bert::loader {

void BatchStream::Start() { StartRead(&request_); }

void BatchStream::Abort(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    End(status);
  }
  Advance();
}

void BatchStream::OnReadDone(bool ok) {
  bool open = false;
  {
    MutexLock lock(&mutex_);
    if (!ok) {
      reads_done_ = true;
      if (!open_.has_value()) End(absl::InvalidArgumentError("the stream ended before its first message"));
    } else {
      const bool is_first = !open_.has_value();
      const absl::Status status = HandleMessage();
      if (!status.ok()) End(status);
      open = is_first && status.ok();
    }
  }
  if (open) host_->openers->Submit([self = shared_from_this()] { self->Open(); });
  // Safe after Finish too: this reaction is still under way, so OnDone has not come.
  if (ok) StartRead(&request_);
  Advance();
}

absl::Status BatchStream::HandleMessage() {
  if (!open_.has_value()) {
    if (!request_.has_open()) return absl::InvalidArgumentError("the first message has no `open`");
    open_ = request_.open();
    if (open_->initial_credits() < 0) return absl::InvalidArgumentError("initial_credits is negative");
    credits_ += open_->initial_credits();
  } else if (request_.has_open()) {
    return absl::InvalidArgumentError("`open` stands in a later message than the first");
  }
  if (request_.credits() < 0) return absl::InvalidArgumentError("credits is negative");
  credits_ += request_.credits();
  return absl::OkStatus();
}

void BatchStream::Open() {
  v1::OpenStream open;
  {
    MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    open = *open_;
  }
  auto cursor = BatchCursor::Open(open, *host_->datasets);
  host_->metrics->open_datasets.Set(static_cast<double>(host_->datasets->size()));
  {
    MutexLock lock(&mutex_);
    if (cursor.ok()) {
      cursor_ = *std::move(cursor);
      opened_ = true;
      exhausted_ = cursor_->Done();
    } else {
      End(cursor.status());
    }
  }
  Advance();
}

void BatchStream::Produce() {
  host_->metrics->responses_queued.Decrement();
  v1::StreamBatchesResponse response;
  const absl::Status status = cursor_->Next(&response);
  {
    MutexLock lock(&mutex_);
    producing_ = false;
    if (status.ok() && !end_.has_value()) {
      ready_.push_back(std::move(response));
      host_->metrics->responses_ready.Increment();
      exhausted_ = cursor_->Done();
    } else {
      End(status);  // Changes nothing where the call has ended meanwhile.
    }
  }
  Advance();
}

void BatchStream::OnWriteDone(bool ok) {
  if (ok) {
    LoaderMetrics& metrics = *host_->metrics;
    metrics.rows.Increment(outgoing_.row_count());
    metrics.tokens.Increment(static_cast<double>(outgoing_.token_ids().size()) /
                             sampling::WireTokenBytes(cursor_->vocab_size()));
    metrics.bytes.Increment(static_cast<double>(outgoing_.ByteSizeLong()));
    metrics.responses.Increment();
  }
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) End(absl::CancelledError("the client has gone"));
  }
  Advance();
}

void BatchStream::OnCancel() { Abort(absl::CancelledError("the client has cancelled or gone")); }

void BatchStream::OnDone() {
  {
    MutexLock lock(&mutex_);
    DropReady();
    host_->metrics->CountStreamEnd(end_.value_or(absl::OkStatus()));
  }
  host_->on_done(this);
}

void BatchStream::Advance() {
  Actions actions;
  {
    MutexLock lock(&mutex_);
    actions = Decide();
    NoteStall();
  }
  // Outside the mutex: gRPC may run the reaction before the call returns.
  if (actions.produce) {
    host_->metrics->responses_queued.Increment();
    host_->producers->Submit([self = shared_from_this()] { self->Produce(); });
  }
  if (actions.write) StartWrite(&outgoing_);
  if (actions.finish.has_value()) Finish(ToGrpc(*actions.finish));
}

BatchStream::Actions BatchStream::Decide() {
  Actions actions;
  if (finished_) return actions;
  const bool all_sent = exhausted_ && ready_.empty() && !producing_;
  const bool nothing_wanted = reads_done_ && opened_ && credits_ == 0;
  if (all_sent || nothing_wanted) End(absl::OkStatus());
  if (end_.has_value()) {
    if (writing_) return actions;
    finished_ = true;
    actions.finish = end_;
    return actions;
  }
  if (!ready_.empty() && credits_ > 0 && !writing_) {
    outgoing_ = std::move(ready_.front());
    ready_.pop_front();
    host_->metrics->responses_ready.Decrement();
    --credits_;
    writing_ = true;
    actions.write = true;
  }
  const bool has_room = static_cast<int>(ready_.size()) < host_->responses_ahead;
  if (opened_ && !exhausted_ && has_room && !producing_) {
    producing_ = true;
    actions.produce = true;
  }
  return actions;
}

void BatchStream::End(const absl::Status& status) {
  if (!end_.has_value()) end_ = status;
}

void BatchStream::DropReady() {
  host_->metrics->responses_ready.Decrement(static_cast<double>(ready_.size()));
  ready_.clear();
}

void BatchStream::NoteStall() {
  Stall stall = Stall::kNone;
  if (!end_.has_value() && opened_ && !writing_) {
    if (credits_ > 0 && ready_.empty()) stall = Stall::kLoader;
    if (credits_ == 0 && !ready_.empty()) stall = Stall::kClient;
  }
  if (stall == stall_) return;
  const absl::Duration now = host_->clock->Monotonic();
  const double seconds = absl::ToDoubleSeconds(now - stall_since_);
  if (stall_ == Stall::kLoader) host_->metrics->stalled_by_loader.Increment(seconds);
  if (stall_ == Stall::kClient) host_->metrics->stalled_by_client.Increment(seconds);
  stall_ = stall;
  stall_since_ = now;
}

}  // namespace bert::loader
