// Builds that are killed, or run out of disk, at every call that changes a file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/files.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/corpus/dataset_builder.h"
#include "dataloader/corpus/file_call_faults.h"
#include "dataloader/text/tokenizer_files.h"
#include "dataloader/text/wordpiece.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Path below the directory, and content.
using Files = std::map<std::string, std::string>;

Files Snapshot(const std::string& directory) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    files[entry.path().lexically_relative(directory).string()] = *ReadFile(entry.path().string());
  }
  return files;
}

class BuildResumeTest : public ::testing::Test {
 protected:
  // How a build in a process of its own ended.
  struct Outcome {
    bool killed = false;
    bool ok = false;
    int64_t calls = 0;
    int64_t resumed_bytes = 0;
    char message[1024] = {};
  };

  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_ + "/text");
    std::vector<std::string> tokens(text::kSpecialTokens.begin(), text::kSpecialTokens.end());
    for (const char* piece : {"a", "b", "##b", "c"}) tokens.emplace_back(piece);
    const text::WordPieceTokenizer tokenizer(*text::Vocabulary::FromTokens(tokens), {});
    ASSERT_TRUE(text::WriteTokenizerFiles(tokenizer, root_ + "/tokenizer").ok());
    std::mt19937 random(23);
    for (int file = 0; file < 5; ++file) {
      std::string content;
      for (int document = 0; document < 25; ++document) {
        std::string words;
        for (size_t word = 1 + random() % 12; word > 0; --word)
          absl::StrAppend(&words, std::string(1, "abcx"[random() % 4]), " ");
        absl::StrAppend(&content, file % 2 == 0 ? words + "\n\n" : absl::StrCat("{\"text\": \"", words, "\"}\n"));
        if (random() % 9 == 0) content += "\xFF\n\n";
      }
      ASSERT_TRUE(WriteFile(absl::StrCat(root_, "/text/", file, file % 2 == 0 ? ".txt" : ".jsonl"), content).ok());
    }
    const Outcome built = Build("reference");
    ASSERT_TRUE(built.ok) << built.message;
    reference_ = Snapshot(root_ + "/reference");
    ASSERT_GE(reference_.size(), 1 + text::TokenizerFiles(tokenizer).size() + 4) << "several shards";
    calls_ = built.calls;
    void* memory = mmap(nullptr, sizeof(Outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BERT_CHECK(memory != MAP_FAILED);
    shared_ = static_cast<Outcome*>(memory);
  }
  void TearDown() override {
    munmap(shared_, sizeof(Outcome));
    fs::remove_all(root_);
  }

  BuildOptions Options(const std::string& name) const {
    return {.inputs = {.inputs = {root_ + "/text"}},
            .tokenizer_directory = root_ + "/tokenizer",
            .output = root_ + "/" + name,
            .validation_share = 0.2,
            .shard_tokens_max = 150,
            .force = force_,
            .threads = 2,
            .journal_bytes = 300,
            .batch_bytes = 400};
  }

  Outcome Build(const std::string& name, int64_t at = 0, FileCallFault fault = FileCallFault::kNone) const {
    Outcome outcome;
    InjectAtFileCall(at, fault);
    const auto report = BuildDataset(Options(name));
    outcome.calls = FileCalls();
    InjectAtFileCall(0, FileCallFault::kNone);
    outcome.ok = report.ok();
    if (report.ok()) outcome.resumed_bytes = report->resumed_bytes;
    std::strncpy(outcome.message, std::string(report.status().message()).c_str(), sizeof(outcome.message) - 1);
    return outcome;
  }

  // The same in a process that may be killed.
  Outcome BuildInChild(const std::string& name, int64_t at, FileCallFault fault) {
    const pid_t child = fork();
    BERT_CHECK(child >= 0);
    if (child == 0) {
      *shared_ = Build(name, at, fault);
      _exit(0);
    }
    int status = 0;
    BERT_CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
      EXPECT_EQ(WTERMSIG(status), SIGKILL);
      return {.killed = true};
    }
    return *shared_;
  }

  void ExpectFinished(const std::string& name, const std::string& what) {
    EXPECT_TRUE(Snapshot(root_ + "/" + name) == reference_) << what;
    EXPECT_FALSE(fs::exists(root_ + "/" + name + ".partial")) << what;
    EXPECT_FALSE(fs::exists(root_ + "/" + name + ".journal")) << what;
  }

  const std::string root_ = absl::StrCat(::testing::TempDir(), "/build_resume_test-", getpid());
  bool force_ = false;
  Files reference_;
  int64_t calls_ = 0;
  Outcome* shared_ = nullptr;
};

TEST_F(BuildResumeTest, KilledAnywhereItGoesOnToTheSameBytes) {
  ASSERT_GT(calls_, 100);
  int64_t resumed = 0;
  for (int64_t at = 1; at <= calls_; ++at) {
    const std::string what = absl::StrCat("killed at call ", at, " of ", calls_);
    ASSERT_TRUE(BuildInChild("dataset", at, FileCallFault::kKill).killed) << what;
    const bool published = fs::exists(root_ + "/dataset");
    if (published) {
      ASSERT_TRUE(Snapshot(root_ + "/dataset") == reference_) << what;
    }
    const bool entry = !published && fs::exists(root_ + "/dataset.journal/build.json");
    const Outcome again = Build("dataset");
    ASSERT_EQ(again.ok, !published) << what << ": " << again.message;
    ASSERT_EQ(again.resumed_bytes > 0, entry) << what;
    ExpectFinished("dataset", what);
    resumed += again.resumed_bytes > 0 ? 1 : 0;
    fs::remove_all(root_ + "/dataset");
  }
  EXPECT_GT(resumed, calls_ / 2);
}

TEST_F(BuildResumeTest, KilledAgainAndAgainItStillComesToTheSameBytes) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    int kills = 0;
    while (BuildInChild("dataset", 1 + static_cast<int64_t>(random() % 60), FileCallFault::kKill).killed) {
      ASSERT_LT(++kills, 200) << "seed " << seed << ": no progress";
    }
    ExpectFinished("dataset", absl::StrCat("seed ", seed, ", killed ", kills, " times"));
    fs::remove_all(root_ + "/dataset");
  }
}

TEST_F(BuildResumeTest, AFullDiskIsOneErrorAndLosesNothing) {
  force_ = true;
  fs::copy(root_ + "/reference", root_ + "/old", fs::copy_options::recursive);
  ASSERT_TRUE(WriteFile(root_ + "/old/manifest.json", "old").ok());
  const Files old = Snapshot(root_ + "/old");
  for (int64_t at = 1; at <= calls_; at += 2) {
    const std::string what = absl::StrCat("full from call ", at);
    fs::copy(root_ + "/old", root_ + "/dataset", fs::copy_options::recursive);
    const Outcome failed = BuildInChild("dataset", at, FileCallFault::kDiskFull);
    ASSERT_FALSE(failed.killed);
    const Files now = Snapshot(root_ + "/dataset");
    if (failed.ok) {
      ASSERT_TRUE(now == reference_) << what;
    } else {
      ASSERT_THAT(failed.message, HasSubstr("No space left on device")) << what;
      ASSERT_EQ(std::string(failed.message).find('\n'), std::string::npos);
      ASSERT_TRUE(now == old || now == reference_) << what;
      const Outcome again = Build("dataset");
      ASSERT_TRUE(again.ok) << what << ": " << again.message;
    }
    ExpectFinished("dataset", what);
    fs::remove_all(root_ + "/dataset");
  }
}

TEST_F(BuildResumeTest, AnUnreadableFileIsOneErrorBehindWhatCouldBeRead) {
  // Reading it fails, for root too.
  fs::create_symlink("/proc/self/mem", root_ + "/text/3-broken.txt");
  const Outcome failed = Build("dataset");
  EXPECT_FALSE(failed.ok);
  EXPECT_THAT(failed.message,
              HasSubstr("cannot read " + root_ + "/text/3-broken.txt: Input/output error; what is built"));
  EXPECT_FALSE(fs::exists(root_ + "/dataset"));
  EXPECT_TRUE(fs::exists(root_ + "/dataset.journal/build.json"));
  const Outcome again = Build("dataset");
  EXPECT_FALSE(again.ok) << "it is still there";
  fs::remove(root_ + "/text/3-broken.txt");
  const Outcome without = Build("dataset");
  ASSERT_TRUE(without.ok) << without.message;
  EXPECT_EQ(without.resumed_bytes, 0) << "the inputs are others";
  ExpectFinished("dataset", "started over");
}

}  // namespace
}  // namespace bert::corpus
