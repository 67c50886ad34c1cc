#include "coordinator/log_store.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status_macros.h"
#include "coordinator/text.h"

namespace bert::coordinator {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(5);
// Bytes that a line costs beside its text.
constexpr int64_t kLineOverheadBytes = 64;
// Old lines are removed when a multiple of this is passed, not with every one.
constexpr int64_t kTrimEveryLines = 1'000;

std::string RankCondition(std::optional<int32_t> rank) {
  return rank.has_value() ? absl::StrCat(" AND rank = ", *rank) : "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogStore>> LogStore::Open(HistoryDatabase* database) {
  std::unique_ptr<LogStore> store(new LogStore(database));
  MutexLock lock(&store->mutex_);
  RETURN_IF_ERROR(database->Read([&](SQLite::Database& connection) {
    store->mutex_.AssertHeld();
    SQLite::Statement positions(connection, "SELECT job, generation, rank, next_line FROM log_positions");
    while (positions.executeStep()) {
      store->next_lines_[{positions.getColumn(0).getString(), positions.getColumn(1).getInt64(),
                          positions.getColumn(2).getInt()}] = positions.getColumn(3).getInt64();
    }
    SQLite::Statement sequences(connection, "SELECT job, MAX(sequence) FROM logs GROUP BY job");
    while (sequences.executeStep()) {
      store->last_sequences_[sequences.getColumn(0).getString()] = sequences.getColumn(1).getInt64();
    }
  }));
  return store;
}

absl::StatusOr<v1::LogPosition> LogStore::Append(const v1::LogChunk& chunk, const std::string& node) {
  if (chunk.first_line() < 0) return absl::InvalidArgumentError("first_line is negative");
  MutexLock lock(&mutex_);
  const RankLog key{chunk.job_id(), chunk.generation(), chunk.rank()};
  const auto known = next_lines_.find(key);
  const int64_t stored = known == next_lines_.end() ? 0 : known->second;
  const int64_t chunk_end = chunk.first_line() + chunk.lines_size();
  v1::LogPosition position;
  position.set_job_id(chunk.job_id());
  position.set_generation(chunk.generation());
  position.set_rank(chunk.rank());
  position.set_next_line(std::max(stored, chunk_end));
  if (chunk_end <= stored) return position;

  const auto last = last_sequences_.find(chunk.job_id());
  int64_t sequence = last == last_sequences_.end() ? 0 : last->second;
  const int64_t sequence_before = sequence;
  int64_t bytes = 0;
  std::vector<v1::LogLine> lines;
  for (int64_t i = std::max<int64_t>(0, stored - chunk.first_line()); i < chunk.lines_size(); ++i) {
    v1::LogLine& line = lines.emplace_back(chunk.lines(static_cast<int>(i)));
    line.set_sequence(++sequence);
    line.set_generation(chunk.generation());
    line.set_rank(chunk.rank());
    line.set_node(node);
    line.set_text(CutText(line.text(), kLineBytesMax));
    bytes += static_cast<int64_t>(line.text().size()) + kLineOverheadBytes;
  }
  const bool trim = sequence / kTrimEveryLines > sequence_before / kTrimEveryLines;
  RETURN_IF_ERROR(
      database_->Enqueue(bytes, [key, lines = std::move(lines), position,
                                 trim_to = trim ? sequence - kLinesPerJobMax : 0](SQLite::Database& database) {
        const std::string& job = std::get<0>(key);
        SQLite::Statement insert(database, "INSERT OR REPLACE INTO logs(job, sequence, rank, data) VALUES(?, ?, ?, ?)");
        for (const v1::LogLine& line : lines) {
          const std::string data = line.SerializeAsString();
          insert.bind(1, job);
          insert.bind(2, static_cast<int64_t>(line.sequence()));
          insert.bind(3, line.rank());
          insert.bind(4, data.data(), static_cast<int>(data.size()));
          insert.exec();
          insert.reset();
        }
        SQLite::Statement next(
            database, "INSERT OR REPLACE INTO log_positions(job, generation, rank, next_line) VALUES(?, ?, ?, ?)");
        next.bind(1, job);
        next.bind(2, std::get<1>(key));
        next.bind(3, std::get<2>(key));
        next.bind(4, static_cast<int64_t>(position.next_line()));
        next.exec();
        if (trim_to <= 0) return;
        SQLite::Statement remove(database, "DELETE FROM logs WHERE job = ? AND sequence <= ?");
        remove.bind(1, job);
        remove.bind(2, trim_to);
        remove.exec();
      }));
  next_lines_[key] = chunk_end;
  last_sequences_[chunk.job_id()] = sequence;
  return position;
}

absl::Status LogStore::Flush() { return database_->Flush(kFlushTimeout); }

absl::StatusOr<LogStore::Lines> LogStore::Read(const JobId& job, std::optional<int32_t> rank, int64_t after,
                                               int lines_max) {
  Lines result;
  bool saw_all = false;
  RETURN_IF_ERROR(database_->Read(
      [&](SQLite::Database& database) {
        SQLite::Statement query(database, absl::StrCat("SELECT data FROM logs WHERE job = ? AND sequence > ?",
                                                       RankCondition(rank), " ORDER BY sequence LIMIT ?"));
        query.bind(1, job.value());
        query.bind(2, after);
        query.bind(3, lines_max);
        while (query.executeStep()) {
          const SQLite::Column column = query.getColumn(0);
          result.lines.emplace_back().ParseFromArray(column.getBlob(), column.getBytes());
        }
      },
      &saw_all));
  result.all = saw_all && static_cast<int>(result.lines.size()) < lines_max;
  return result;
}

absl::StatusOr<int64_t> LogStore::BeforeLast(const JobId& job, std::optional<int32_t> rank, int64_t lines) {
  int64_t before = 0;
  RETURN_IF_ERROR(database_->Read([&](SQLite::Database& database) {
    SQLite::Statement query(database, absl::StrCat("SELECT sequence FROM logs WHERE job = ?", RankCondition(rank),
                                                   " ORDER BY sequence DESC LIMIT 1 OFFSET ?"));
    query.bind(1, job.value());
    query.bind(2, lines);
    if (query.executeStep()) before = query.getColumn(0).getInt64();
  }));
  return before;
}

int64_t LogStore::LastSequence(const JobId& job) const {
  MutexLock lock(&mutex_);
  const auto it = last_sequences_.find(job.value());
  return it == last_sequences_.end() ? 0 : it->second;
}

}  // namespace bert::coordinator
