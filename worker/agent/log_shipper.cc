#include "worker/agent/log_shipper.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/backoff.h"

namespace bert::agent {
namespace {

// What a line costs beside its text: time, node, numbers and the tags before them.
constexpr size_t kLineOverheadBytes = 96;

RankKey KeyOf(const v1::LogChunk& chunk) { return {chunk.job_id(), chunk.generation(), chunk.rank()}; }

void SetTime(absl::Time time, google::protobuf::Timestamp* out) {
  const timespec value = absl::ToTimespec(time);
  out->set_seconds(value.tv_sec);
  out->set_nanos(static_cast<int32_t>(value.tv_nsec));
}

std::string DroppedText(int64_t dropped) {
  return absl::StrCat("[", dropped, " lines are only in the log file on this node: the coordinator was away]");
}

}  // namespace

LogShipper::LogShipper(std::shared_ptr<grpc::Channel> channel, Options options, AgentMetrics* metrics)
    : options_(std::move(options)), metrics_(metrics), stub_(v1::WorkerService::NewStub(channel)) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "log-shipper");
    Run();
  });
}

LogShipper::~LogShipper() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    work_.SignalAll();
    drained_.SignalAll();
    if (call_ != nullptr) call_->TryCancel();
  }
  thread_.join();
}

void LogShipper::SetIncarnation(const std::string& incarnation) {
  MutexLock lock(&mutex_);
  incarnation_ = incarnation;
  work_.SignalAll();
}

void LogShipper::Append(const RankKey& key, absl::Time time, std::string text) {
  MutexLock lock(&mutex_);
  Stream& stream = streams_[key];
  stream.bytes += text.size() + kLineOverheadBytes;
  stream.lines.push_back({time, std::move(text)});
  if (stream.bytes > options_.window_bytes_max) MakeRoom(stream);
  work_.SignalAll();
}

void LogShipper::Close(const RankKey& key) {
  MutexLock lock(&mutex_);
  const auto found = streams_.find(key);
  if (found == streams_.end()) return;
  found->second.closed = true;
  RemoveDone();
}

bool LogShipper::Flush(absl::Duration timeout) {
  MutexLock lock(&mutex_);
  ++flushers_;
  work_.SignalAll();
  const absl::Time deadline = absl::Now() + timeout;
  while (!stopping_ && HasLines() && absl::Now() < deadline) drained_.WaitFor(&mutex_, deadline - absl::Now());
  --flushers_;
  return !HasLines();
}

bool LogShipper::HasLines() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& entry) { return !entry.second.lines.empty(); });
}
bool LogShipper::WaitForLines() {
  while (!stopping_ && (incarnation_.empty() || !HasLines())) work_.Wait(&mutex_);
  const absl::Time together = absl::Now() + options_.linger;
  while (!stopping_ && flushers_ == 0 && absl::Now() < together) work_.WaitFor(&mutex_, together - absl::Now());
  return !stopping_;
}

void LogShipper::Run() {
  Backoff backoff(options_.backoff_initial, options_.backoff_max, options_.seed);
  bool announced = false;
  while (true) {
    v1::UploadLogsRequest request;
    grpc::ClientContext context;
    {
      MutexLock lock(&mutex_);
      if (!WaitForLines()) return;
      request = BuildRequest();
      context.set_deadline(absl::ToChronoTime(absl::Now() + options_.call_timeout));
      call_ = &context;
    }
    v1::UploadLogsResponse response;
    const grpc::Status status = stub_->UploadLogs(&context, request, &response);
    (status.ok() ? metrics_->log_uploads_ok : metrics_->log_uploads_failed).Increment();
    MutexLock lock(&mutex_);
    call_ = nullptr;
    if (stopping_) return;
    if (status.ok() && Acknowledge(request, response)) {
      announced = false;
      backoff.Reset();
      continue;
    }
    if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT) {
      spdlog::error("the coordinator refuses log lines for good, they stay in the log files here: {}",
                    status.error_message());
      Discard(request);
      continue;
    }
    if (!announced) spdlog::warn("log lines wait for the coordinator: {}", status.error_message());
    announced = true;
    const absl::Time again = absl::Now() + backoff.Next();
    while (!stopping_ && absl::Now() < again) work_.WaitFor(&mutex_, again - absl::Now());
  }
}

v1::UploadLogsRequest LogShipper::BuildRequest() {
  v1::UploadLogsRequest request;
  request.set_node(options_.node);
  request.set_incarnation(incarnation_);
  size_t bytes = 0;
  for (auto& [key, stream] : streams_) {
    if (stream.lines.empty()) continue;
    if (bytes >= options_.upload_bytes_max) break;
    v1::LogChunk& chunk = *request.add_chunks();
    chunk.set_job_id(key.job_id);
    chunk.set_generation(key.generation);
    chunk.set_rank(key.rank);
    chunk.set_first_line(stream.base);
    size_t count = 0;
    for (const Line& line : stream.lines) {
      if (count > 0 && bytes >= options_.upload_bytes_max) break;
      v1::LogLine& out = *chunk.add_lines();
      out.set_generation(key.generation);
      out.set_rank(key.rank);
      out.set_node(options_.node);
      SetTime(line.time, out.mutable_time());
      out.set_text(line.text);
      bytes += line.text.size() + kLineOverheadBytes;
      ++count;
    }
    stream.sent = std::max(stream.sent, count);
  }
  return request;
}

bool LogShipper::Acknowledge(const v1::UploadLogsRequest& request, const v1::UploadLogsResponse& response) {
  std::map<RankKey, int64_t> next_lines;
  for (const v1::LogPosition& position : response.positions()) {
    next_lines[{position.job_id(), position.generation(), position.rank()}] = position.next_line();
  }
  bool moved = false;
  for (const v1::LogChunk& chunk : request.chunks()) {
    const auto stream = streams_.find(KeyOf(chunk));
    const auto next_line = next_lines.find(KeyOf(chunk));
    if (stream == streams_.end() || next_line == next_lines.end()) continue;
    if (next_line->second == stream->second.base) continue;
    Advance(stream->second, next_line->second);
    moved = true;
  }
  RemoveDone();
  return moved;
}

void LogShipper::Discard(const v1::UploadLogsRequest& request) {
  for (const v1::LogChunk& chunk : request.chunks()) {
    const auto stream = streams_.find(KeyOf(chunk));
    if (stream == streams_.end()) continue;
    metrics_->log_lines_dropped.Increment(chunk.lines_size());
    Advance(stream->second, chunk.first_line() + chunk.lines_size());
  }
  RemoveDone();
}

void LogShipper::Advance(Stream& stream, int64_t next_line) {
  if (next_line < stream.base) {
    // It has lost lines that it had acknowledged, and they are gone here: go on at the number it waits for.
    spdlog::warn("the coordinator has lost {} stored log lines", stream.base - next_line);
    stream.base = next_line;
    return;
  }
  while (stream.base < next_line && !stream.lines.empty()) {
    stream.bytes -= stream.lines.front().text.size() + kLineOverheadBytes;
    stream.lines.pop_front();
    ++stream.base;
    if (stream.sent > 0) --stream.sent;
    metrics_->log_lines_acknowledged.Increment();
  }
  // Past everything here: another agent sent more in this rank's name; the numbers go on behind it.
  stream.base = std::max(stream.base, next_line);
}

void LogShipper::MakeRoom(Stream& stream) {
  // The lines at the front may already be stored under their numbers; the rest has none yet.
  const auto first = stream.lines.begin() + static_cast<std::ptrdiff_t>(stream.sent);
  auto last = first;
  int64_t dropped = 0;
  // Down to half, so that this is not done for every line.
  while (last != stream.lines.end() - 1 && stream.bytes > options_.window_bytes_max / 2) {
    dropped += std::max<int64_t>(1, last->dropped);
    if (last->dropped == 0) metrics_->log_lines_dropped.Increment();
    stream.bytes -= last->text.size() + kLineOverheadBytes;
    ++last;
  }
  if (dropped == 0) return;
  Line marker = {.time = first->time, .text = DroppedText(dropped), .dropped = dropped};
  stream.bytes += marker.text.size() + kLineOverheadBytes;
  *first = std::move(marker);
  stream.lines.erase(first + 1, last);
}

void LogShipper::RemoveDone() {
  if (!HasLines()) drained_.SignalAll();
  std::erase_if(streams_, [](const auto& entry) { return entry.second.closed && entry.second.lines.empty(); });
}

}  // namespace bert::agent
