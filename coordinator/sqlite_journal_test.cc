#include "coordinator/sqlite_journal.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "coordinator/state_dir.h"
#include "coordinator/test_updates.h"

namespace bert::coordinator {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SqliteJournalTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/journal-", testing::UnitTest::GetInstance()->random_seed(), "-",
                              testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(RemoveTree(directory_).ok());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(directory_).ok()); }

  std::string path() const { return directory_ + "/journal.sqlite"; }

  std::unique_ptr<SqliteJournal> OpenJournal() {
    auto journal = SqliteJournal::Open(path());
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }

  // Records 1 to 5, of one submission each.
  void WriteFive() {
    auto journal = OpenJournal();
    const auto recovered = journal->Load();
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    for (int i = 1; i <= 5; ++i) {
      ASSERT_TRUE(journal->Append(recovered->epoch, {Submitted(absl::StrCat("j", i), TestSpec(1, 1))}).ok());
    }
  }

  void Execute(const std::string& sql) {
    SQLite::Database database(path(), SQLite::OPEN_READWRITE);
    EXPECT_GT(database.exec(sql), 0) << sql;
  }

  std::string directory_;
};

TEST_F(SqliteJournalTest, GivesBackWhatWasAppended) {
  WriteFive();
  auto journal = OpenJournal();
  const auto recovered = journal->Load();
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->epoch, 2);
  ASSERT_EQ(recovered->updates.size(), 5);
  EXPECT_EQ(recovered->updates[4].job_submitted().job_id(), "j5");
}

TEST_F(SqliteJournalTest, ABatchIsOneRecord) {
  auto journal = OpenJournal();
  const auto recovered = journal->Load();
  ASSERT_TRUE(journal->Append(recovered->epoch, {Submitted("j", TestSpec(1, 1)), CancelRequested("j")}).ok());
  ASSERT_EQ(OpenJournal()->Load()->updates.size(), 2);
  Execute("DELETE FROM records");
  EXPECT_EQ(OpenJournal()->Load()->updates.size(), 0);
}

TEST_F(SqliteJournalTest, CompactsAndGoesOn) {
  WriteFive();
  {
    auto journal = OpenJournal();
    const auto recovered = journal->Load();
    State state;
    for (const Update& update : recovered->updates) ASSERT_TRUE(state.Apply(update).ok());
    ASSERT_TRUE(journal->Compact(recovered->epoch, state.ToSnapshot()).ok());
    ASSERT_TRUE(journal->Append(recovered->epoch, {CancelRequested("j1")}).ok());
    ASSERT_TRUE(journal->Append(recovered->epoch, {CancelRequested("j2")}).ok());
  }
  const auto recovered = OpenJournal()->Load();
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->snapshot.jobs_size(), 5);
  EXPECT_EQ(recovered->updates.size(), 2);
}

TEST_F(SqliteJournalTest, WantsCompactionOnceItIsLarge) {
  auto journal = OpenJournal();
  const auto recovered = journal->Load();
  v1::JobSpec spec = TestSpec(1, 1);
  spec.set_name(std::string(1 << 20, 'x'));
  EXPECT_FALSE(journal->WantsCompaction());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(journal->Append(recovered->epoch, {Submitted(absl::StrCat("j", i), spec)}).ok());
  }
  EXPECT_TRUE(journal->WantsCompaction());
  ASSERT_TRUE(journal->Compact(recovered->epoch, Snapshot()).ok());
  EXPECT_FALSE(journal->WantsCompaction());
}

TEST_F(SqliteJournalTest, AnOlderEpochCannotWrite) {
  auto journal = OpenJournal();
  const int64_t first = journal->Load()->epoch;
  const int64_t second = journal->Load()->epoch;
  EXPECT_TRUE(absl::IsFailedPrecondition(journal->Append(first, {Submitted("j", TestSpec(1, 1))})));
  EXPECT_TRUE(absl::IsFailedPrecondition(journal->Compact(first, Snapshot())));
  EXPECT_TRUE(journal->Append(second, {Submitted("j", TestSpec(1, 1))}).ok());
}

TEST_F(SqliteJournalTest, NamesADamagedRecord) {
  WriteFive();
  Execute("UPDATE records SET data = CAST(replace(hex(data), '6A33', '6A34') AS BLOB) WHERE id = 3");
  const absl::Status status = OpenJournal()->Load().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path()), HasSubstr("record 3")));
}

TEST_F(SqliteJournalTest, NamesAMissingRecord) {
  WriteFive();
  Execute("DELETE FROM records WHERE id = 2");
  const absl::Status status = OpenJournal()->Load().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("record 2 is missing"));
}

TEST_F(SqliteJournalTest, FindsSwappedRecords) {
  WriteFive();
  Execute("UPDATE records SET id = -id WHERE id IN (2, 3)");
  Execute("UPDATE records SET id = 5 + id WHERE id < 0");
  EXPECT_TRUE(absl::IsDataLoss(OpenJournal()->Load().status()));
}

TEST_F(SqliteJournalTest, NamesADamagedSnapshot) {
  WriteFive();
  {
    auto journal = OpenJournal();
    const auto recovered = journal->Load();
    ASSERT_TRUE(journal->Compact(recovered->epoch, Snapshot()).ok());
  }
  Execute("UPDATE snapshot SET data = x'0801'");
  const absl::Status status = OpenJournal()->Load().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("snapshot"));
}

TEST_F(SqliteJournalTest, AFileThatIsNoJournalIsRefused) {
  std::ofstream(path()) << std::string(8192, 'x');
  const auto journal = SqliteJournal::Open(path());
  EXPECT_TRUE(absl::IsDataLoss(journal.status())) << journal.status();
  EXPECT_THAT(std::string(journal.status().message()), HasSubstr(path()));
}

TEST_F(SqliteJournalTest, DamagedPagesAreFound) {
  WriteFive();
  // The header stays; what follows is overwritten.
  Execute("UPDATE meta SET value = value");
  std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(2048);
  file << std::string(30000, '\x5a');
  file.close();
  const auto journal = SqliteJournal::Open(path());
  const absl::Status status = journal.ok() ? (*journal)->Load().status() : journal.status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(SqliteJournalTest, ANewerVersionIsRefused) {
  WriteFive();
  Execute("UPDATE meta SET value = 99 WHERE key = 'version'");
  EXPECT_TRUE(absl::IsUnimplemented(SqliteJournal::Open(path()).status()));
}

// A limit on the size of files is a full disk that a test can make.
TEST_F(SqliteJournalTest, AFullDiskRefusesAndRecovers) {
  auto journal = OpenJournal();
  const auto recovered = journal->Load();
  v1::JobSpec large = TestSpec(1, 1);
  large.set_name(std::string(256 << 10, 'x'));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limited = before;
  limited.rlim_cur = 128 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
  const absl::Status full = journal->Append(recovered->epoch, {Submitted("large", large)});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, ignored);
  EXPECT_TRUE(absl::IsUnavailable(full)) << full;
  EXPECT_THAT(std::string(full.message()), HasSubstr(path()));
  ASSERT_TRUE(journal->Append(recovered->epoch, {Submitted("j", TestSpec(1, 1))}).ok());
  journal = nullptr;
  const auto again = OpenJournal()->Load();
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->updates.size(), 1);
  EXPECT_EQ(again->updates[0].job_submitted().job_id(), "j");
}

TEST_F(SqliteJournalTest, TheDirectoryHasOneOwner) {
  auto first = StateDir::Lock(directory_);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = StateDir::Lock(directory_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr("in use by another bert-coordinator"), HasSubstr(absl::StrCat(getpid()))));
  { StateDir moved = *std::move(first); }
  EXPECT_TRUE(StateDir::Lock(directory_).ok());
}

}  // namespace
}  // namespace bert::coordinator
