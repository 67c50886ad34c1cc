#include "coordinator/history_database.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"

namespace bert::coordinator {
namespace {

constexpr absl::Duration kRetryPause = absl::Seconds(1);
constexpr absl::Duration kReadFlush = absl::Seconds(1);
constexpr int kBusyTimeoutMs = 5'000;

constexpr char kSchema[] = R"sql(
CREATE TABLE IF NOT EXISTS steps(job TEXT, step INTEGER, generation INTEGER NOT NULL, data BLOB NOT NULL,
                                 PRIMARY KEY(job, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS validations(job TEXT, step INTEGER, generation INTEGER NOT NULL, data BLOB NOT NULL,
                                       PRIMARY KEY(job, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, job TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_job ON events(job, id);
CREATE TABLE IF NOT EXISTS logs(job TEXT, sequence INTEGER, rank INTEGER NOT NULL, data BLOB NOT NULL,
                                PRIMARY KEY(job, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_positions(job TEXT, generation INTEGER, rank INTEGER, next_line INTEGER NOT NULL,
                                         PRIMARY KEY(job, generation, rank)) WITHOUT ROWID;
)sql";

constexpr int kSqliteCorrupt = 11;
constexpr int kSqliteNotADatabase = 26;

bool IsDamage(const SQLite::Exception& e) {
  return e.getErrorCode() == kSqliteCorrupt || e.getErrorCode() == kSqliteNotADatabase;
}

// Reads every page. Damage found here costs the history; found later it would stop all writing.
void CheckPages(SQLite::Database& database) {
  SQLite::Statement check(database, "PRAGMA quick_check(1)");
  check.executeStep();
  const std::string found = check.getColumn(0).getString();
  if (found != "ok") throw SQLite::Exception(absl::StrReplaceAll(found, {{"\n", " "}}), kSqliteCorrupt);
}

std::unique_ptr<SQLite::Database> OpenWriter(const std::string& path) {
  auto database =
      std::make_unique<SQLite::Database>(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, kBusyTimeoutMs);
  database->exec("PRAGMA journal_mode = WAL");
  database->exec("PRAGMA synchronous = NORMAL");
  database->exec(kSchema);
  CheckPages(*database);
  return database;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HistoryDatabase>> HistoryDatabase::Open(const std::string& path) {
  for (const bool second_try : {false, true}) {
    try {
      auto writer = OpenWriter(path);
      auto reader = std::make_unique<SQLite::Database>(path, SQLite::OPEN_READWRITE, kBusyTimeoutMs);
      return std::unique_ptr<HistoryDatabase>(new HistoryDatabase(path, std::move(writer), std::move(reader)));
    } catch (const SQLite::Exception& e) {
      if (second_try || !IsDamage(e)) {
        return absl::UnavailableError(absl::StrCat("cannot open history ", path, ": ", e.what()));
      }
      const std::string aside = path + ".damaged";
      spdlog::warn("history {} is damaged ({}); moved to {}, a new one begins", path, e.what(), aside);
      std::rename(path.c_str(), aside.c_str());
      // Of the damaged file; the new one must not see them.
      std::remove((path + "-wal").c_str());
      std::remove((path + "-shm").c_str());
    }
  }
  return absl::InternalError("not reached");
}

HistoryDatabase::HistoryDatabase(std::string path, std::unique_ptr<SQLite::Database> writer,
                                 std::unique_ptr<SQLite::Database> reader)
    : path_(std::move(path)), writer_(std::move(writer)), reader_(std::move(reader)) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "history");
    Run();
  });
}

HistoryDatabase::~HistoryDatabase() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void HistoryDatabase::Push(int64_t bytes, Write write) {
  queue_.push_back({bytes, std::move(write)});
  queue_bytes_ += bytes;
  ++enqueued_;
  changed_.SignalAll();
}

absl::Status HistoryDatabase::Enqueue(int64_t bytes, Write write) {
  MutexLock lock(&mutex_);
  if (queue_bytes_ + bytes > kQueueBytesMax) {
    return absl::UnavailableError(absl::StrCat("history ", path_, " cannot keep up: ", queue_bytes_, " bytes wait; ",
                                               last_error_.ok() ? "try again" : std::string(last_error_.message())));
  }
  Push(bytes, std::move(write));
  return absl::OkStatus();
}

void HistoryDatabase::EnqueueOrDrop(int64_t bytes, Write write) {
  MutexLock lock(&mutex_);
  if (queue_bytes_ + bytes <= kQueueBytesMax + kReserveBytes) {
    Push(bytes, std::move(write));
    return;
  }
  if (!dropped_) spdlog::error("history {} cannot be written; events are lost from here on", path_);
  dropped_ = true;
}

absl::Status HistoryDatabase::Flush(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  const int64_t target = enqueued_;
  while (written_ < target) {
    if (!last_error_.ok()) return last_error_;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::UnavailableError(absl::StrCat("history ", path_, " is slow; try again"));
    }
    changed_.WaitFor(&mutex_, left);
  }
  return absl::OkStatus();
}

absl::Status HistoryDatabase::Read(absl::FunctionRef<void(SQLite::Database&)> read, bool* saw_all) {
  // Where nothing can be written just now, what is there is still worth reading.
  const bool flushed = Flush(kReadFlush).ok();
  if (saw_all != nullptr) *saw_all = flushed;
  MutexLock lock(&read_mutex_);
  try {
    read(*reader_);
    return absl::OkStatus();
  } catch (const SQLite::Exception& e) {
    const std::string message = absl::StrCat("cannot read history ", path_, ": ", e.what());
    if (!IsDamage(e)) return absl::InternalError(message);
    return absl::DataLossError(absl::StrCat(message, "; a restart of the coordinator moves a damaged one aside"));
  }
}

absl::Status HistoryDatabase::WriteBatch(const std::deque<Item>& batch) {
  try {
    SQLite::Transaction transaction(*writer_);
    for (const Item& item : batch) item.write(*writer_);
    transaction.commit();
    return absl::OkStatus();
  } catch (const SQLite::Exception& e) {
    return absl::UnavailableError(absl::StrCat("cannot write history ", path_, ": ", e.what()));
  }
}

void HistoryDatabase::Run() {
  while (true) {
    std::deque<Item> batch;
    int64_t batch_bytes = 0;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (queue_.empty()) return;
      batch.swap(queue_);
      for (const Item& item : batch) batch_bytes += item.bytes;
    }
    while (true) {
      const absl::Status status = WriteBatch(batch);
      MutexLock lock(&mutex_);
      if (status != last_error_) {
        if (!status.ok()) spdlog::warn("{}", std::string(status.message()));
        if (status.ok()) spdlog::info("history {} is written again", path_);
        last_error_ = status;
        changed_.SignalAll();
      }
      if (status.ok()) {
        written_ += static_cast<int64_t>(batch.size());
        queue_bytes_ -= batch_bytes;
        dropped_ = false;
        changed_.SignalAll();
        break;
      }
      if (stopping_) return;
      const absl::Time again = absl::Now() + kRetryPause;
      while (!stopping_ && absl::Now() < again) changed_.WaitFor(&mutex_, again - absl::Now());
    }
  }
}

}  // namespace bert::coordinator
