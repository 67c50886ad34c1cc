#include "coordinator/job_streams.h"

#include <algorithm>
#include <optional>

#include "common/status_macros.h"

namespace bert::coordinator {
namespace {

constexpr absl::Duration kWatchInterval = absl::Milliseconds(500);
constexpr absl::Duration kLateLines = absl::Seconds(2);
// With the longest lines these stay under the message limit.
constexpr int kLinesPerResponse = 250;

absl::Time EndTime(const v1::Job& job) {
  return absl::FromUnixSeconds(job.end_time().seconds()) + absl::Nanoseconds(job.end_time().nanos());
}

}  // namespace

absl::Status WatchStream::Next(v1::WatchJobResponse& response, bool& ready, bool& last) {
  last = ended_;
  if (ended_) return absl::OkStatus();
  const uint64_t version = coordinator_->JobVersion(job_);
  const absl::Duration now = clock_->Monotonic();
  if (version == version_ || now < next_write_) return absl::OkStatus();
  ASSIGN_OR_RETURN(*response.mutable_job(), coordinator_->GetJob(job_.value()));
  version_ = version;
  next_write_ = now + kWatchInterval;
  ended_ = !IsActive(response.job().state());
  ready = true;
  return absl::OkStatus();
}

absl::Status LogStream::Next(v1::StreamJobLogsResponse& response, bool& ready, bool& last) {
  const std::optional<int32_t> rank = request_.has_rank() ? std::optional(request_.rank()) : std::nullopt;
  ASSIGN_OR_RETURN(const v1::Job job, coordinator_->GetJob(job_.value()));
  if (!begun_) {
    position_ = request_.after_sequence();
    if (request_.tail() > 0) {
      ASSIGN_OR_RETURN(position_, logs_->BeforeLast(job_, rank, request_.tail()));
    }
    begun_ = true;
  }
  const int64_t newest = logs_->LastSequence(job_);
  if (position_ < newest) {
    ASSIGN_OR_RETURN(const LogStore::Lines read, logs_->Read(job_, rank, position_, kLinesPerResponse));
    if (!read.lines.empty()) position_ = read.lines.back().sequence();
    // Past what other ranks wrote, but not past what is not stored yet.
    if (read.all) position_ = std::max(position_, newest);
    response.clear_lines();
    for (const v1::LogLine& line : read.lines) *response.add_lines() = line;
    ready = !read.lines.empty();
    if (ready) return absl::OkStatus();
  }
  last = !request_.follow() || (position_ >= newest && IsOver(job));
  return absl::OkStatus();
}

bool LogStream::IsOver(const v1::Job& job) {
  if (IsActive(job.state())) return false;
  if (!end_seen_.has_value()) end_seen_ = clock_->Monotonic();
  // The first knows of ends long ago; the second goes on where the clock was set back.
  return clock_->Now() - EndTime(job) > kLateLines || clock_->Monotonic() - *end_seen_ > kLateLines;
}

}  // namespace bert::coordinator
