#include "worker/record/training_record.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/files.h"
#include "common/mapped_file.h"
#include "common/status_macros.h"
#include "worker/record/chart.h"
#include "worker/record/event_file.h"
#include "worker/record/metrics_file.h"
#include "worker/record/whole_records.h"

namespace bert::record {
namespace {

std::string MetricsPath(const std::string& directory) { return absl::StrCat(directory, "/metrics.jsonl"); }

// One of the two files, with what it has not taken yet.
class Outlet {
 public:
  using Open = std::function<absl::StatusOr<std::unique_ptr<WholeRecords>>()>;

  Outlet(Open open, size_t unwritten_max) : open_(std::move(open)), unwritten_max_(unwritten_max) {}

  void Append(const std::string& record) {
    if (unwritten_.size() + record.size() > unwritten_max_) {
      ++lost_;
    } else {
      unwritten_ += record;
    }
  }

  void Write() {
    const absl::Status status = TryToWrite();
    if (!status.ok() && !failing_) {
      spdlog::warn("training goes on without its curves: {}", std::string(status.message()));
    } else if (status.ok() && failing_) {
      spdlog::info("the curves are written again; {} points are lost", lost_);
    }
    failing_ = !status.ok();
  }

 private:
  absl::Status TryToWrite() {
    if (file_ == nullptr) {
      ASSIGN_OR_RETURN(file_, open_());
    }
    if (unwritten_.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(file_->Append(unwritten_));
    unwritten_.clear();
    return absl::OkStatus();
  }

  const Open open_;
  const size_t unwritten_max_;
  std::unique_ptr<WholeRecords> file_;
  std::string unwritten_;
  int64_t lost_ = 0;
  bool failing_ = false;
};

absl::StatusOr<std::unique_ptr<WholeRecords>> OpenMetrics(const TrainingRecord::Options& options) {
  RETURN_IF_ERROR(MakeDirectories(options.directory));
  RETURN_IF_ERROR(KeepUpTo(MetricsPath(options.directory), options.first_step));
  return WholeRecords::Open(MetricsPath(options.directory));
}

// Not every reader heeds a session's start for every kind of value: earlier generations' files end where this one
// begins. Written anew, so that one of their processes that still lives does not write here.
absl::Status CutEarlierEvents(const std::string& directory, const TrainingRecord::Options& options) {
  std::error_code error;
  std::vector<std::string> earlier;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kEventFilePrefix) && name < EventFileName(options.generation)) {
      earlier.push_back(entry.path());
    }
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot list ", directory));
  std::sort(earlier.begin(), earlier.end());
  for (const std::string& path : earlier) {
    ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
    const size_t kept = BytesUpTo(file.bytes(), options.first_step);
    if (kept == file.bytes().size()) continue;
    RETURN_IF_ERROR(WriteFileDurably(path, file.bytes().substr(0, kept)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WholeRecords>> OpenEvents(const TrainingRecord::Options& options) {
  const std::string directory = absl::StrCat(options.directory, "/tensorboard");
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(CutEarlierEvents(directory, options));
  ASSIGN_OR_RETURN(auto file, WholeRecords::Open(absl::StrCat(directory, "/", EventFileName(options.generation))));
  RETURN_IF_ERROR(file->Append(EventFileHeader(options.first_step + 1, absl::Now())));
  return file;
}

absl::Status DrawCharts(const TrainingRecord::Options& options) {
  ThinnedLine loss;
  ThinnedLine rate;
  ChartLine validation{.name = "validation", .points = {}, .marked = true};
  ThinnedLine validations(200);
  RETURN_IF_ERROR(ForEachLine(MetricsPath(options.directory), [&](const std::string& line) {
    const MetricsLine parsed = ParseMetricsLine(line);
    if (parsed.step.has_value()) {
      loss.Add(static_cast<double>(parsed.step->step), parsed.step->loss);
      rate.Add(static_cast<double>(parsed.step->step), parsed.step->learning_rate);
    } else if (parsed.validation.has_value()) {
      validations.Add(static_cast<double>(parsed.validation->step), parsed.validation->loss);
    }
  }));
  validation.points = validations.Points();
  Chart chart = {.title = "Loss",
                 .x_label = "optimizer steps",
                 .y_label = "loss (nats per masked token)",
                 .lines = {{.name = "training", .points = loss.Points()}}};
  if (!validation.points.empty()) chart.lines.push_back(std::move(validation));
  if (options.unigram_cross_entropy > 0) {
    chart.level = options.unigram_cross_entropy;
    chart.level_name = "unigram baseline";
  }
  RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(options.directory, "/loss.svg"), DrawSvg(chart)));
  return WriteFileDurably(absl::StrCat(options.directory, "/learning_rate.svg"),
                          DrawSvg({.title = "Learning rate",
                                   .x_label = "optimizer steps",
                                   .y_label = "learning rate",
                                   .lines = {{.name = "learning rate", .points = rate.Points()}}}));
}

}  // namespace

TrainingRecord::TrainingRecord(Options options) : options_(std::move(options)) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "record");
    Run();
  });
}

TrainingRecord::~TrainingRecord() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void TrainingRecord::Add(const StepPoint& point) { Push(point); }
void TrainingRecord::Add(const ValidationPoint& point) { Push(point); }

void TrainingRecord::Push(Point point) {
  MutexLock lock(&mutex_);
  ++added_;
  if (waiting_.size() >= options_.points_max) {
    waiting_.pop_front();
    ++handled_;
  }
  waiting_.push_back(std::move(point));
}

absl::Status TrainingRecord::Flush(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  const int64_t wanted = added_;
  ++flushes_;
  changed_.SignalAll();
  while (handled_ < wanted && absl::Now() < deadline) changed_.WaitFor(&mutex_, deadline - absl::Now());
  --flushes_;
  if (handled_ >= wanted) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat("the curves in ", options_.directory, " are not written in time"));
}

absl::Status TrainingRecord::Finish(absl::Duration timeout) {
  RETURN_IF_ERROR(Flush(timeout));
  return DrawCharts(options_);
}

void TrainingRecord::Run() {
  Outlet metrics([this] { return OpenMetrics(options_); }, options_.unwritten_bytes_max);
  Outlet events([this] { return OpenEvents(options_); }, options_.unwritten_bytes_max);
  bool last = false;
  while (!last) {
    std::deque<Point> points;
    {
      MutexLock lock(&mutex_);
      points.swap(waiting_);
      last = stopping_;
    }
    for (const Point& point : points) {
      std::visit(
          [&](const auto& value) {
            metrics.Append(LineOf(value));
            events.Append(EventOf(value));
          },
          point);
    }
    metrics.Write();
    events.Write();
    MutexLock lock(&mutex_);
    handled_ += static_cast<int64_t>(points.size());
    changed_.SignalAll();
    if (!stopping_ && (flushes_ == 0 || handled_ == added_)) changed_.WaitFor(&mutex_, options_.cadence);
  }
}

}  // namespace bert::record
