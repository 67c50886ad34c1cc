#include "coordinator/history.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "coordinator/log_store.h"

namespace bert::coordinator {
namespace {

using testing::ElementsAre;

class HistoryTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/history-", testing::UnitTest::GetInstance()->random_seed(), "-",
                              testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(RemoveTree(directory_).ok());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
    Reopen();
  }
  void TearDown() override {
    logs_ = nullptr;
    history_ = nullptr;
    database_ = nullptr;
    EXPECT_TRUE(RemoveTree(directory_).ok());
  }

  void Reopen() {
    logs_ = nullptr;
    history_ = nullptr;
    database_ = nullptr;
    auto database = HistoryDatabase::Open(directory_ + "/history.sqlite");
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    history_ = std::make_unique<History>(database_.get());
    auto logs = LogStore::Open(database_.get());
    ASSERT_TRUE(logs.ok()) << logs.status();
    logs_ = *std::move(logs);
  }

  // Steps first to last, with loss = generation + step / 1000.
  void Report(const std::string& job, int64_t generation, int64_t first, int64_t last) {
    ProgressReport report{.job = JobId(job), .generation = generation, .steps = {}, .validations = {}};
    for (int64_t step = first; step <= last; ++step) {
      v1::StepMetrics& metrics = report.steps.emplace_back();
      metrics.set_step(step);
      metrics.set_loss(static_cast<double>(generation) + static_cast<double>(step) / 1000);
    }
    ASSERT_TRUE(history_->AddProgress(report).ok());
  }

  void Validate(const std::string& job, int64_t generation, const std::vector<int64_t>& steps) {
    ProgressReport report{.job = JobId(job), .generation = generation, .steps = {}, .validations = {}};
    for (const int64_t step : steps) report.validations.emplace_back().set_step(step);
    ASSERT_TRUE(history_->AddProgress(report).ok());
  }

  std::vector<int64_t> Validations(const std::string& job, int64_t points = 10'000) {
    const auto response = history_->ListSteps(JobId(job), 0, points);
    std::vector<int64_t> steps;
    for (const auto& validation : response->validations()) steps.push_back(validation.step());
    return steps;
  }

  std::vector<int64_t> Steps(const std::string& job, int64_t after = 0, int64_t points = 10'000) {
    const auto response = history_->ListSteps(JobId(job), after, points);
    std::vector<int64_t> steps;
    for (const auto& step : response->steps()) steps.push_back(step.step());
    return steps;
  }

  v1::LogChunk Chunk(const std::string& job, int32_t rank, int64_t first_line, int lines) {
    v1::LogChunk chunk;
    chunk.set_job_id(job);
    chunk.set_generation(1);
    chunk.set_rank(rank);
    chunk.set_first_line(first_line);
    for (int i = 0; i < lines; ++i) {
      chunk.add_lines()->set_text(absl::StrCat("rank ", rank, " line ", first_line + i));
    }
    return chunk;
  }

  std::vector<std::string> Lines(const std::string& job, std::optional<int32_t> rank = std::nullopt) {
    const auto lines = logs_->Read(JobId(job), rank, 0, 1000);
    std::vector<std::string> texts;
    for (const v1::LogLine& line : lines->lines) texts.push_back(line.text());
    return texts;
  }

  std::string directory_;
  std::unique_ptr<HistoryDatabase> database_;
  std::unique_ptr<History> history_;
  std::unique_ptr<LogStore> logs_;
};

TEST_F(HistoryTest, RerunStepsReplaceOlderOnes) {
  Report("j", 1, 1, 10);
  Report("k", 1, 1, 3);
  Report("j", 2, 6, 7);
  EXPECT_THAT(Steps("j"), ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_DOUBLE_EQ(history_->ListSteps(JobId("j"), 5, 10)->steps(0).loss(), 2.006);
  Report("j", 2, 8, 8);
  Reopen();
  const auto progress = history_->LoadProgress();
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->at(JobId("j")).last_step->step(), 8);
  EXPECT_EQ(progress->at(JobId("j")).step_generation, 2);
  EXPECT_EQ(progress->at(JobId("k")).last_step->step(), 3);
}

TEST_F(HistoryTest, AResumeDiscardsValidationsToo) {
  Report("j", 1, 1, 20);
  Validate("j", 1, {5, 10, 15});
  // From the checkpoint of step 10: its validation holds.
  Report("j", 2, 11, 12);
  EXPECT_THAT(Validations("j"), ElementsAre(5, 10));
  const auto progress = history_->LoadProgress();
  EXPECT_EQ(progress->at(JobId("j")).last_validation->step(), 10);
  Report("j", 2, 13, 15);
  Validate("j", 2, {15});
  EXPECT_THAT(Validations("j"), ElementsAre(5, 10, 15));
}

TEST_F(HistoryTest, StepsAreThinnedEvenly) {
  Report("j", 1, 1, 100);
  EXPECT_THAT(Steps("j", 0, 5), ElementsAre(20, 40, 60, 80, 100));
  EXPECT_THAT(Steps("j", 97, 100), ElementsAre(98, 99, 100));
  EXPECT_THAT(Steps("x"), ElementsAre());
  Validate("j", 1, {10, 20, 30, 40, 50, 60});
  EXPECT_THAT(Validations("j", 3), ElementsAre(20, 40, 60));
}

TEST_F(HistoryTest, EventsComeInOrder) {
  v1::JobEvent event;
  event.set_type("SUBMITTED");
  history_->AddEvents({{JobId("j"), event}, {JobId("k"), event}});
  event.set_type("SUCCEEDED");
  history_->AddEvents({{JobId("j"), event}});
  Reopen();
  const auto events = history_->ListEvents(JobId("j"));
  ASSERT_EQ(events->events_size(), 2);
  EXPECT_EQ(events->events(0).type(), "SUBMITTED");
  EXPECT_EQ(events->events(1).type(), "SUCCEEDED");
}

TEST_F(HistoryTest, LogLinesAreStoredOnce) {
  EXPECT_EQ(logs_->Append(Chunk("j", 0, 0, 3), "a")->next_line(), 3);
  EXPECT_EQ(logs_->Append(Chunk("j", 1, 0, 1), "a")->next_line(), 1);
  // Again, and with more.
  EXPECT_EQ(logs_->Append(Chunk("j", 0, 0, 3), "a")->next_line(), 3);
  EXPECT_EQ(logs_->Append(Chunk("j", 0, 1, 4), "a")->next_line(), 5);
  ASSERT_TRUE(logs_->Flush().ok());
  Reopen();
  EXPECT_EQ(logs_->Append(Chunk("j", 0, 3, 2), "a")->next_line(), 5);
  EXPECT_THAT(Lines("j"), ElementsAre("rank 0 line 0", "rank 0 line 1", "rank 0 line 2", "rank 1 line 0",
                                      "rank 0 line 3", "rank 0 line 4"));
  EXPECT_THAT(Lines("j", 1), ElementsAre("rank 1 line 0"));
  EXPECT_EQ(logs_->LastSequence(JobId("j")), 6);
  EXPECT_EQ(*logs_->BeforeLast(JobId("j"), std::nullopt, 2), 4);
  EXPECT_EQ(*logs_->BeforeLast(JobId("j"), 0, 3), 2);
  EXPECT_EQ(*logs_->BeforeLast(JobId("j"), std::nullopt, 100), 0);
  // Lines 5 to 9 are lost for good: their sender does not have them either.
  EXPECT_EQ(logs_->Append(Chunk("j", 0, 10, 1), "a")->next_line(), 11);
}

TEST_F(HistoryTest, LongLinesAreCut) {
  v1::LogChunk chunk = Chunk("j", 0, 0, 2);
  chunk.mutable_lines(0)->set_text(std::string(1 << 20, 'x'));
  // Not within a character.
  chunk.mutable_lines(1)->set_text(std::string(LogStore::kLineBytesMax - 1, 'x') + "\u00e4");
  ASSERT_TRUE(logs_->Append(chunk, "a").ok());
  EXPECT_EQ(Lines("j")[0].size(), LogStore::kLineBytesMax);
  EXPECT_EQ(Lines("j")[1].size(), LogStore::kLineBytesMax - 1);
}

TEST_F(HistoryTest, OldLinesOfAJobAreRemoved) {
  for (int64_t first = 0; first < LogStore::kLinesPerJobMax + 3'000; first += 1'000) {
    ASSERT_TRUE(logs_->Append(Chunk("j", 0, first, 1'000), "a").ok());
    // The test is quicker than the disk.
    ASSERT_TRUE(logs_->Flush().ok());
  }
  const auto lines = logs_->Read(JobId("j"), std::nullopt, 0, 1);
  EXPECT_EQ(lines->lines.at(0).sequence(), 3'001);
}

TEST_F(HistoryTest, TheQueueIsBounded) {
  // The writer is held inside its first write until the test lets it go.
  Mutex mutex;
  CondVar changed;
  bool go = false;
  ASSERT_TRUE(database_
                  ->Enqueue(1,
                            [&](SQLite::Database&) {
                              MutexLock lock(&mutex);
                              while (!go) changed.Wait(&mutex);
                            })
                  .ok());
  absl::Status status;
  int accepted = 0;
  for (; accepted < 1000 && status.ok(); ++accepted) status = database_->Enqueue(1 << 20, [](SQLite::Database&) {});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_LT(accepted, 40);
  EXPECT_TRUE(absl::IsUnavailable(database_->Flush(absl::ZeroDuration())));
  // Events have a reserve, which is bounded too; a long one counts as what it is.
  v1::JobEvent event;
  event.set_message(std::string(1 << 20, 'x'));
  event.set_type("LONG");
  for (int i = 0; i < 100; ++i) history_->AddEvents({{JobId("j"), event}});
  {
    MutexLock lock(&mutex);
    go = true;
    changed.SignalAll();
  }
  EXPECT_TRUE(database_->Flush(absl::Seconds(30)).ok());
  EXPECT_TRUE(database_->Enqueue(1 << 20, [](SQLite::Database&) {}).ok());
  const int kept = history_->ListEvents(JobId("j"))->events_size();
  EXPECT_GE(kept, 7);
  EXPECT_LE(kept, 9);
  history_->AddEvents({{JobId("j"), event}});
  EXPECT_EQ(history_->ListEvents(JobId("j"))->events_size(), kept + 1);
}

TEST_F(HistoryTest, NobodyWaitsForADiskThatTakesNothing) {
  std::atomic<bool> full = true;
  ASSERT_TRUE(logs_->Append(Chunk("j", 0, 0, 1), "a").ok());
  ASSERT_TRUE(logs_->Flush().ok());
  ASSERT_TRUE(database_
                  ->Enqueue(1,
                            [&](SQLite::Database&) {
                              if (full) throw SQLite::Exception("disk is full");
                            })
                  .ok());
  const absl::Status status = database_->Flush(absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("disk is full"));
  // What is there can be read, and who reads learns that there is more.
  ASSERT_TRUE(logs_->Append(Chunk("j", 0, 1, 1), "a").ok());
  const auto some = logs_->Read(JobId("j"), std::nullopt, 0, 100);
  ASSERT_EQ(some->lines.size(), 1);
  EXPECT_FALSE(some->all);
  full = false;
  while (!database_->Flush(absl::InfiniteDuration()).ok()) std::this_thread::yield();
  const auto all = logs_->Read(JobId("j"), std::nullopt, 0, 100);
  EXPECT_EQ(all->lines.size(), 2);
  EXPECT_TRUE(all->all);
  EXPECT_FALSE(logs_->Read(JobId("j"), std::nullopt, 0, 2)->all);
}

TEST_F(HistoryTest, ADamagedFileIsMovedAside) {
  Report("j", 1, 1, 3);
  logs_ = nullptr;
  history_ = nullptr;
  database_ = nullptr;
  const std::string path = directory_ + "/history.sqlite";
  std::ofstream(path, std::ios::trunc) << std::string(8192, 'x');
  Reopen();
  EXPECT_THAT(Steps("j"), ElementsAre());
  EXPECT_TRUE(ReadFile(path + ".damaged").ok());
}

// The first page, with the header and the schema, is whole; so the file opens like any other.
TEST_F(HistoryTest, SoIsOneThatIsDamagedFurtherIn) {
  constexpr std::streamoff kPageBytes = 4096;
  Report("j", 1, 1, 2000);
  logs_ = nullptr;
  history_ = nullptr;
  database_ = nullptr;
  const std::string path = directory_ + "/history.sqlite";
  const auto content = ReadFile(path);
  ASSERT_TRUE(content.ok()) << content.status();
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(kPageBytes);
  file << std::string(content->size() - kPageBytes, 'x');
  file.close();
  Reopen();
  EXPECT_THAT(Steps("j"), ElementsAre());
  Report("j", 1, 1, 1);
  EXPECT_THAT(Steps("j"), ElementsAre(1));
  EXPECT_TRUE(ReadFile(path + ".damaged").ok());
}

}  // namespace
}  // namespace bert::coordinator
