#include "coordinator/sqlite_journal.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::coordinator {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kCompactBytesMin = 4 << 20;
constexpr uint64_t kFirstSeed = 0x62657274;

// SQLITE_CORRUPT and SQLITE_NOTADB.
bool IsDamage(const SQLite::Exception& e) { return e.getErrorCode() == 11 || e.getErrorCode() == 26; }

// SQLite's limit of a row, and below the 2 GiB past which protobuf gives no bytes at all: an empty snapshot with the
// right checksum would take the journal's place.
constexpr size_t kDataBytesMax = 900'000'000;

absl::StatusOr<std::string> Serialize(const google::protobuf::MessageLite& message, const std::string& what) {
  const size_t bytes = message.ByteSizeLong();
  std::string data;
  if (bytes > kDataBytesMax || !message.SerializeToString(&data)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": ", bytes, " bytes are more than the ", kDataBytesMax, " that a journal's record holds"));
  }
  return data;
}

absl::string_view Blob(const SQLite::Column& column) {
  return {static_cast<const char*>(column.getBlob()), static_cast<size_t>(column.getBytes())};
}

void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes) {
  statement.bind(index, bytes.data(), static_cast<int>(bytes.size()));
}

int64_t Value(SQLite::Database& database, const std::string& key) {
  SQLite::Statement query(database, "SELECT value FROM meta WHERE key = ?");
  query.bind(1, key);
  return query.executeStep() ? query.getColumn(0).getInt64() : 0;
}

void SetValue(SQLite::Database& database, const std::string& key, int64_t value) {
  SQLite::Statement statement(database, "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)");
  statement.bind(1, key);
  statement.bind(2, value);
  statement.exec();
}

// SQLite keeps signed 64-bit integers.
int64_t ToColumn(uint64_t checksum) { return static_cast<int64_t>(checksum); }
uint64_t FromColumn(int64_t value) { return static_cast<uint64_t>(value); }

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteJournal>> SqliteJournal::Open(const std::string& path) {
  try {
    auto database = std::make_unique<SQLite::Database>(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    std::unique_ptr<SqliteJournal> journal(new SqliteJournal(path, std::move(database)));
    journal->Prepare();
    RETURN_IF_ERROR(SyncDirectory(std::filesystem::path(path).parent_path()));
    const int64_t version = Value(*journal->database_, "version");
    if (version > kVersion) {
      return absl::UnimplementedError(absl::StrCat("journal ", path, " has version ", version,
                                                   "; this program reads up to ", kVersion,
                                                   ": start the newer one again"));
    }
    return journal;
  } catch (const SQLite::Exception& e) {
    const std::string message = absl::StrCat("cannot open journal ", path, ": ", e.what());
    return IsDamage(e) ? absl::DataLossError(message) : absl::UnavailableError(message);
  }
}

SqliteJournal::SqliteJournal(std::string path, std::unique_ptr<SQLite::Database> database)
    : path_(std::move(path)), database_(std::move(database)) {}

SqliteJournal::~SqliteJournal() = default;

void SqliteJournal::Prepare() {
  database_->exec("PRAGMA journal_mode = WAL");
  database_->exec("PRAGMA synchronous = FULL");
  SQLite::Transaction transaction(*database_);
  database_->exec("CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID");
  database_->exec(
      "CREATE TABLE IF NOT EXISTS snapshot(id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL, checksum INTEGER NOT "
      "NULL, "
      "data BLOB NOT NULL)");
  database_->exec(
      "CREATE TABLE IF NOT EXISTS records(id INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, data BLOB NOT NULL)");
  if (Value(*database_, "version") == 0) SetValue(*database_, "version", kVersion);
  transaction.commit();
}

absl::Status SqliteJournal::Damaged(const std::string& what) const {
  return absl::DataLossError(absl::StrCat("journal ", path_, " is damaged: ", what,
                                          ". Restore the state directory from a backup, or move it away to start "
                                          "without the jobs in it"));
}

absl::StatusOr<Journal::Recovered> SqliteJournal::Load() {
  try {
    ASSIGN_OR_RETURN(Recovered recovered, Read());
    SQLite::Transaction transaction(*database_);
    epoch_ = Value(*database_, "epoch") + 1;
    SetValue(*database_, "epoch", epoch_);
    transaction.commit();
    recovered.epoch = epoch_;
    return recovered;
  } catch (const SQLite::Exception& e) {
    if (IsDamage(e)) return Damaged(e.what());
    return absl::UnavailableError(absl::StrCat("cannot read journal ", path_, ": ", e.what()));
  }
}

absl::StatusOr<Journal::Recovered> SqliteJournal::Read() {
  Recovered recovered;
  last_id_ = 0;
  last_checksum_ = kFirstSeed;
  snapshot_bytes_ = 0;
  record_bytes_ = 0;
  SQLite::Statement snapshot(*database_, "SELECT last_id, checksum, data FROM snapshot WHERE id = 1");
  if (snapshot.executeStep()) {
    const absl::string_view data = Blob(snapshot.getColumn(2));
    last_id_ = snapshot.getColumn(0).getInt64();
    last_checksum_ = StableHash({data.data(), data.size()}, static_cast<uint64_t>(last_id_));
    if (last_checksum_ != FromColumn(snapshot.getColumn(1).getInt64())) {
      return Damaged("the snapshot's checksum does not match its content");
    }
    if (!recovered.snapshot.ParseFromArray(data.data(), static_cast<int>(data.size()))) {
      return Damaged("the snapshot cannot be parsed");
    }
    snapshot_bytes_ = static_cast<int64_t>(data.size());
  }
  SQLite::Statement records(*database_, "SELECT id, checksum, data FROM records ORDER BY id");
  while (records.executeStep()) {
    const int64_t id = records.getColumn(0).getInt64();
    if (id != last_id_ + 1) return Damaged(absl::StrCat("record ", last_id_ + 1, " is missing"));
    const absl::string_view data = Blob(records.getColumn(2));
    const uint64_t checksum = StableHash({data.data(), data.size()}, last_checksum_);
    if (checksum != FromColumn(records.getColumn(1).getInt64())) {
      return Damaged(absl::StrCat("the checksum of record ", id, " does not match its content"));
    }
    journal::v1::Batch batch;
    if (!batch.ParseFromArray(data.data(), static_cast<int>(data.size()))) {
      return Damaged(absl::StrCat("record ", id, " cannot be parsed"));
    }
    for (journal::v1::Update& update : *batch.mutable_updates()) recovered.updates.push_back(std::move(update));
    last_id_ = id;
    last_checksum_ = checksum;
    record_bytes_ += static_cast<int64_t>(data.size());
  }
  return recovered;
}

absl::Status SqliteJournal::CheckEpoch(int64_t epoch) const {
  if (epoch == epoch_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("journal ", path_, " is in epoch ", epoch_, "; epoch ", epoch, " is over"));
}

absl::Status SqliteJournal::Append(int64_t epoch, absl::Span<const journal::v1::Update> updates) {
  RETURN_IF_ERROR(CheckEpoch(epoch));
  journal::v1::Batch batch;
  for (const journal::v1::Update& update : updates) *batch.add_updates() = update;
  ASSIGN_OR_RETURN(const std::string data, Serialize(batch, absl::StrCat("cannot write journal ", path_)));
  const uint64_t checksum = StableHash(data, last_checksum_);
  try {
    SQLite::Transaction transaction(*database_);
    SQLite::Statement insert(*database_, "INSERT INTO records(id, checksum, data) VALUES(?, ?, ?)");
    insert.bind(1, last_id_ + 1);
    insert.bind(2, ToColumn(checksum));
    BindBlob(insert, 3, data);
    insert.exec();
    transaction.commit();
  } catch (const SQLite::Exception& e) {
    return absl::UnavailableError(absl::StrCat("cannot write journal ", path_, ": ", e.what()));
  }
  ++last_id_;
  last_checksum_ = checksum;
  record_bytes_ += static_cast<int64_t>(data.size());
  return absl::OkStatus();
}

absl::Status SqliteJournal::Compact(int64_t epoch, const journal::v1::Snapshot& snapshot) {
  RETURN_IF_ERROR(CheckEpoch(epoch));
  ASSIGN_OR_RETURN(const std::string data, Serialize(snapshot, absl::StrCat("cannot compact journal ", path_)));
  const uint64_t checksum = StableHash(data, static_cast<uint64_t>(last_id_));
  try {
    SQLite::Transaction transaction(*database_);
    SQLite::Statement insert(*database_,
                             "INSERT OR REPLACE INTO snapshot(id, last_id, checksum, data) VALUES(1, ?, ?, ?)");
    insert.bind(1, last_id_);
    insert.bind(2, ToColumn(checksum));
    BindBlob(insert, 3, data);
    insert.exec();
    database_->exec("DELETE FROM records");
    transaction.commit();
  } catch (const SQLite::Exception& e) {
    return absl::UnavailableError(absl::StrCat("cannot compact journal ", path_, ": ", e.what()));
  }
  last_checksum_ = checksum;
  snapshot_bytes_ = static_cast<int64_t>(data.size());
  record_bytes_ = 0;
  return absl::OkStatus();
}

bool SqliteJournal::WantsCompaction() const { return record_bytes_ > std::max(kCompactBytesMin, 2 * snapshot_bytes_); }

}  // namespace bert::coordinator
