#include "coordinator/history.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace bert::coordinator {
namespace {

// Enough for any one job; the oldest are left out of an answer beyond it.
constexpr int kEventsMax = 5'000;
constexpr int64_t kRowBytes = 100;

template <typename Message>
bool Parse(const SQLite::Column& column, Message& message) {
  return message.ParseFromArray(column.getBlob(), column.getBytes());
}

// Removes what older generations said of `first_step` and of what came after it.
void RemoveSuperseded(SQLite::Database& database, const std::string& table, const ProgressReport& report,
                      int64_t first_step) {
  SQLite::Statement remove(database,
                           absl::StrCat("DELETE FROM ", table, " WHERE job = ? AND step >= ? AND generation < ?"));
  remove.bind(1, report.job.value());
  remove.bind(2, first_step);
  remove.bind(3, report.generation);
  remove.exec();
}

template <typename Message>
void WriteRows(SQLite::Database& database, const std::string& table, const ProgressReport& report,
               const std::vector<Message>& messages) {
  SQLite::Statement insert(
      database, absl::StrCat("INSERT OR IGNORE INTO ", table, "(job, step, generation, data) VALUES(?,?,?,?)"));
  for (const Message& message : messages) {
    const std::string data = message.SerializeAsString();
    insert.bind(1, report.job.value());
    insert.bind(2, static_cast<int64_t>(message.step()));
    insert.bind(3, report.generation);
    insert.bind(4, data.data(), static_cast<int>(data.size()));
    insert.exec();
    insert.reset();
  }
}

// Adds the rows after `after_step`, in order; of more than `points_max` only so many, evenly spread, with the last.
template <typename Message>
void ReadThinned(SQLite::Database& database, const std::string& table, const JobId& job, int64_t after_step,
                 int64_t points_max, google::protobuf::RepeatedPtrField<Message>& out) {
  SQLite::Statement count(database, absl::StrCat("SELECT COUNT(*) FROM ", table, " WHERE job = ? AND step > ?"));
  count.bind(1, job.value());
  count.bind(2, after_step);
  count.executeStep();
  const int64_t rows = count.getColumn(0).getInt64();
  SQLite::Statement query(database,
                          absl::StrCat("SELECT data FROM ", table, " WHERE job = ? AND step > ? ORDER BY step"));
  query.bind(1, job.value());
  query.bind(2, after_step);
  // Row i is taken where (i + 1) * points / rows reaches the next whole number; so is the last.
  const int64_t points = std::min(rows, points_max);
  for (int64_t i = 0; i < rows && query.executeStep(); ++i) {
    if ((i + 1) * points / rows > i * points / rows) Parse(query.getColumn(0), *out.Add());
  }
}

}  // namespace

absl::Status History::AddProgress(ProgressReport report) {
  const int64_t bytes = kRowBytes * static_cast<int64_t>(report.steps.size() + report.validations.size());
  return database_->Enqueue(bytes, [report = std::move(report)](SQLite::Database& database) {
    if (!report.steps.empty()) {
      RemoveSuperseded(database, "steps", report, report.steps.front().step());
      RemoveSuperseded(database, "validations", report, report.steps.front().step());
    }
    if (!report.validations.empty()) {
      RemoveSuperseded(database, "validations", report, report.validations.front().step());
    }
    WriteRows(database, "steps", report, report.steps);
    WriteRows(database, "validations", report, report.validations);
  });
}

void History::AddEvents(std::vector<std::pair<JobId, v1::JobEvent>> events) {
  if (events.empty()) return;
  int64_t bytes = 0;
  for (const auto& [job, event] : events) bytes += kRowBytes + static_cast<int64_t>(event.ByteSizeLong());
  database_->EnqueueOrDrop(bytes, [events = std::move(events)](SQLite::Database& database) {
    SQLite::Statement insert(database, "INSERT INTO events(job, data) VALUES(?, ?)");
    for (const auto& [job, event] : events) {
      const std::string data = event.SerializeAsString();
      insert.bind(1, job.value());
      insert.bind(2, data.data(), static_cast<int>(data.size()));
      insert.exec();
      insert.reset();
    }
  });
}

absl::StatusOr<std::map<JobId, JobProgress>> History::LoadProgress() {
  std::map<JobId, JobProgress> progress;
  RETURN_IF_ERROR(database_->Read([&](SQLite::Database& database) {
    // SQLite takes the other columns from the row that has the maximum.
    SQLite::Statement steps(database, "SELECT job, generation, data, MAX(step) FROM steps GROUP BY job");
    while (steps.executeStep()) {
      JobProgress& job = progress[JobId(steps.getColumn(0).getString())];
      job.step_generation = steps.getColumn(1).getInt64();
      Parse(steps.getColumn(2), job.last_step.emplace());
    }
    SQLite::Statement validations(database, "SELECT job, generation, data, MAX(step) FROM validations GROUP BY job");
    while (validations.executeStep()) {
      JobProgress& job = progress[JobId(validations.getColumn(0).getString())];
      job.validation_generation = validations.getColumn(1).getInt64();
      Parse(validations.getColumn(2), job.last_validation.emplace());
    }
  }));
  return progress;
}

absl::StatusOr<v1::ListStepsResponse> History::ListSteps(const JobId& job, int64_t after_step, int64_t points_max) {
  v1::ListStepsResponse response;
  RETURN_IF_ERROR(database_->Read([&](SQLite::Database& database) {
    ReadThinned(database, "steps", job, after_step, points_max, *response.mutable_steps());
    ReadThinned(database, "validations", job, after_step, points_max, *response.mutable_validations());
  }));
  return response;
}

absl::StatusOr<v1::ListJobEventsResponse> History::ListEvents(const JobId& job) {
  v1::ListJobEventsResponse response;
  RETURN_IF_ERROR(database_->Read([&](SQLite::Database& database) {
    SQLite::Statement events(database,
                             "SELECT data FROM (SELECT id, data FROM events WHERE job = ? ORDER BY id DESC LIMIT ?) "
                             "ORDER BY id");
    events.bind(1, job.value());
    events.bind(2, kEventsMax);
    while (events.executeStep()) Parse(events.getColumn(0), *response.add_events());
  }));
  return response;
}

}  // namespace bert::coordinator
