#include "dataloader/data_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "dataloader/progress_line.h"
#include "dataloader/row_listing.h"

namespace bert::data {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Runs commands in the process, on streams of its own.
class DataCommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_);
    std::string text;
    for (int i = 0; i < 60; ++i) {
      absl::StrAppend(&text, "The ", i, " horses were walking.\nThe walkers talked, and walked on.\n\n");
    }
    ASSERT_TRUE(WriteFile(root_ + "/text.txt", text).ok());
  }
  void TearDown() override { fs::remove_all(root_); }

  Terminal MakeTerminal() { return {.in = in_, .out = out_, .err = err_, .err_is_terminal = false, .clock = clock_}; }

  TrainTokenizerFlags TrainFlags() const {
    return {.inputs = {root_ + "/text.txt"}, .vocab_size = 70, .output = root_ + "/tokenizer"};
  }
  BuildFlags MakeBuildFlags() const {
    return {.inputs = {.inputs = {root_ + "/text.txt"}},
            .tokenizer = root_ + "/tokenizer",
            .output = root_ + "/dataset",
            .validation_share = 0.3};
  }
  void MakeDataset() {
    ASSERT_TRUE(TrainTokenizer(TrainFlags(), MakeTerminal()).ok());
    const absl::Status built = Build(MakeBuildFlags(), MakeTerminal(), {});
    ASSERT_TRUE(built.ok()) << built;
  }
  std::string TakeOutput() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }

  const std::string root_ = ::testing::TempDir() + "/data_commands_test";
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  SimulatedClock clock_{absl::UnixEpoch()};
};

TEST_F(DataCommandsTest, BytePairsFromTextToDataset) {
  for (const char* type : {"bpe", "byte-level-bpe"}) {
    TrainTokenizerFlags train = TrainFlags();
    train.type = type;
    train.vocab_size = 300;
    train.min_frequency = 1;
    train.force = true;
    train.threads = 2;
    ASSERT_TRUE(TrainTokenizer(train, MakeTerminal()).ok());
    BuildFlags build = MakeBuildFlags();
    build.force = true;
    const absl::Status built = Build(build, MakeTerminal(), {});
    ASSERT_TRUE(built.ok()) << built;
    TakeOutput();
    ASSERT_TRUE(Verify(root_ + "/dataset", MakeTerminal()).ok());
    ASSERT_TRUE(Inspect({.directory = root_ + "/dataset", .show = 1}, MakeTerminal()).ok());
    EXPECT_THAT(TakeOutput(), AllOf(HasSubstr(absl::StrCat("tokenizer  ", type)), HasSubstr("horses were walking")));
    ASSERT_TRUE(Rows({.directory = root_ + "/dataset", .count = 1}, MakeTerminal()).ok());
    EXPECT_THAT(TakeOutput(), AllOf(HasSubstr("row 0: [CLS] "), HasSubstr(" [SEP]")));
    in_.str("The horses [MASK] on.\n");
    in_.clear();
    ASSERT_TRUE(Tokenize({.tokenizer = root_ + "/dataset/tokenizer"}, MakeTerminal()).ok());
    EXPECT_THAT(absl::StrCat(" ", TakeOutput()), HasSubstr(" 4 ")) << "[MASK] is a token";
  }
  EXPECT_THAT(TrainTokenizer({.type = "unigram"}, MakeTerminal()).message(), HasSubstr("--type 'unigram'"));
}

TEST_F(DataCommandsTest, TrainsBuildsInspectsAndVerifies) {
  ASSERT_TRUE(TrainTokenizer(TrainFlags(), MakeTerminal()).ok());
  EXPECT_THAT(TakeOutput(), HasSubstr("70 tokens from"));
  const absl::Status built = Build(MakeBuildFlags(), MakeTerminal(), {});
  ASSERT_TRUE(built.ok()) << built;
  EXPECT_THAT(TakeOutput(), AllOf(HasSubstr("digest     xxh128:"), HasSubstr("corpus"), HasSubstr("tokens/word"),
                                  HasSubstr("left out: 0 duplicate")));

  ASSERT_TRUE(Inspect({.directory = root_ + "/dataset", .show = 1}, MakeTerminal()).ok());
  EXPECT_THAT(TakeOutput(), AllOf(HasSubstr("baseline"), HasSubstr("train document 0"),
                                  HasSubstr("horses were walking. the walkers talked, and walked on.")));

  ASSERT_TRUE(Inspect({.directory = root_ + "/dataset", .json = true, .show = 2}, MakeTerminal()).ok());
  const auto json = nlohmann::json::parse(TakeOutput());
  EXPECT_EQ(json["splits"]["train"]["documents"].get<int>() + json["splits"]["validation"]["documents"].get<int>(), 60);
  EXPECT_EQ(json["tokenizer"]["vocab_size"], 70);
  EXPECT_GT(json["unigram_cross_entropy"].get<double>(), 1);
  EXPECT_EQ(json["documents"].size(), 4u);

  ASSERT_TRUE(Verify(root_ + "/dataset", MakeTerminal()).ok());
  EXPECT_THAT(TakeOutput(), HasSubstr("good: xxh128:"));
}

TEST_F(DataCommandsTest, WithoutValidationThereIsNoBaseline) {
  ASSERT_TRUE(TrainTokenizer(TrainFlags(), MakeTerminal()).ok());
  BuildFlags flags = MakeBuildFlags();
  flags.validation_share = 0;
  ASSERT_TRUE(Build(flags, MakeTerminal(), {}).ok());
  EXPECT_THAT(TakeOutput(), HasSubstr("baseline   none"));
}

TEST_F(DataCommandsTest, VerifyNamesTheDamagedFile) {
  MakeDataset();
  const std::string shard = root_ + "/dataset/shards/train-00000.bin";
  std::string bytes = *ReadFile(shard);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
  ASSERT_TRUE(WriteFile(shard, bytes).ok());
  const absl::Status status = Verify(root_ + "/dataset", MakeTerminal());
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("train-00000.bin"));
}

TEST_F(DataCommandsTest, TrainingAgainIsNoHarmAndAnotherVocabularyIsNotLost) {
  ASSERT_TRUE(TrainTokenizer(TrainFlags(), MakeTerminal()).ok());
  EXPECT_TRUE(TrainTokenizer(TrainFlags(), MakeTerminal()).ok());
  TrainTokenizerFlags other = TrainFlags();
  other.vocab_size = 60;
  const absl::Status status = TrainTokenizer(other, MakeTerminal());
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("vocab.txt"), HasSubstr("--force")));
  other.force = true;
  EXPECT_TRUE(TrainTokenizer(other, MakeTerminal()).ok());
}

TEST_F(DataCommandsTest, TokenizePrintsIdsLineByLine) {
  ASSERT_TRUE(TrainTokenizer(TrainFlags(), MakeTerminal()).ok());
  TakeOutput();
  in_.str("[MASK]\n\n[SEP] [CLS]\n");
  ASSERT_TRUE(Tokenize({.tokenizer = root_ + "/tokenizer"}, MakeTerminal()).ok());
  EXPECT_EQ(TakeOutput(), "4\n\n3 2\n");

  in_ = std::istringstream("\"The\\nwalkers\"\n");
  ASSERT_TRUE(Tokenize({.tokenizer = root_ + "/tokenizer", .json = true}, MakeTerminal()).ok());
  EXPECT_EQ(nlohmann::json::parse(TakeOutput())["text"], "the walkers");

  in_ = std::istringstream("\"good\"\nbad\n");
  const absl::Status status = Tokenize({.tokenizer = root_ + "/tokenizer", .json = true}, MakeTerminal());
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 2: not a JSON string"));
}

TEST_F(DataCommandsTest, ProgressComesEveryFewSecondsOrOnOneLine) {
  {
    ProgressLine progress("reading", err_, /*is_terminal=*/false, clock_);
    progress.Update(0, 4'000'000);
    clock_.Advance(absl::Seconds(4));
    progress.Update(1'000'000, 4'000'000);
    EXPECT_EQ(err_.str(), "");
    clock_.Advance(absl::Seconds(1));
    progress.Update(2'000'000, 4'000'000);
    EXPECT_EQ(err_.str(), "reading   50%  2.0 of 4.0 MB  0.4 MB/s  ETA 5s\n");
  }
  err_.str("");
  {
    ProgressLine progress("reading", err_, /*is_terminal=*/true, clock_);
    progress.Update(1'000'000, 4'000'000);
    clock_.Advance(absl::Seconds(1));
    progress.Update(1'010'000, 4'000'000);
    EXPECT_EQ(err_.str(), "\rreading  [#####---------------]   25%  1.0 of 4.0 MB  0.0 MB/s  ETA 4m59s")
        << "what was there before the first update does not count as speed";
  }
  EXPECT_TRUE(err_.str().ends_with(" \r")) << "the line is cleared at the end";
}

// The binary itself: exit codes, and that an error is one line.
class BertDataTest : public DataCommandsTest {
 protected:
  int RunBinary(const std::string& arguments) {
    const char* binary = std::getenv("BERT_DATA_BINARY");
    EXPECT_NE(binary, nullptr) << "set BERT_DATA_BINARY; ctest does";
    if (binary == nullptr) return -1;
    const std::string command =
        absl::StrCat("'", binary, "' ", arguments, " >'", root_, "/out' 2>'", root_, "/err' </dev/null");
    const int status = std::system(command.c_str());
    printed_ = *ReadFile(root_ + "/out");
    complained_ = *ReadFile(root_ + "/err");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string printed_;
  std::string complained_;
};

TEST_F(BertDataTest, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(RunBinary("--help"), 0);
  EXPECT_THAT(printed_, AllOf(HasSubstr("train-tokenizer"), HasSubstr("Examples:")));
  for (const char* command : {"train-tokenizer", "build", "inspect", "verify", "tokenize"}) {
    EXPECT_EQ(RunBinary(absl::StrCat(command, " --help")), 0);
    EXPECT_THAT(printed_, HasSubstr("Examples:")) << command;
  }
  EXPECT_EQ(RunBinary("--version"), 0);
}

TEST_F(BertDataTest, UsageErrorsAreTwo) {
  EXPECT_EQ(RunBinary(""), 2);
  EXPECT_EQ(RunBinary("bild"), 2);
  EXPECT_EQ(RunBinary("build --input x"), 2);
  EXPECT_EQ(RunBinary("build --input x --tokenizer y --output z --validation-share 1.5"), 2);
  EXPECT_EQ(RunBinary("--log-level loud verify x"), 2);
}

TEST_F(BertDataTest, ErrorsAreOneAndOneLine) {
  EXPECT_EQ(RunBinary(absl::StrCat("train-tokenizer --input ", root_, "/none.txt --output ", root_, "/t")), 1);
  EXPECT_EQ(complained_, absl::StrCat("bert-data: ", root_, "/none.txt: no such file or directory\n"));
  EXPECT_EQ(RunBinary(absl::StrCat("verify ", root_)), 1);
  EXPECT_THAT(complained_, HasSubstr("manifest.json"));
  EXPECT_EQ(std::count(complained_.begin(), complained_.end(), '\n'), 1) << complained_;
}

TEST_F(BertDataTest, TheWholeWay) {
  const std::string text = root_ + "/text.txt";
  EXPECT_EQ(RunBinary(absl::StrCat("train-tokenizer --input ", text, " --vocab-size 60 --output ", root_, "/t")), 0);
  const std::string build =
      absl::StrCat("build --input ", text, " --tokenizer ", root_, "/t --output ", root_, "/d --validation-share 0.2");
  EXPECT_EQ(RunBinary(build), 0) << complained_;
  EXPECT_EQ(RunBinary(build), 1);
  EXPECT_THAT(complained_, HasSubstr("already exists; --force replaces it"));
  EXPECT_EQ(RunBinary(build + " --force"), 0);
  EXPECT_EQ(RunBinary(absl::StrCat("verify ", root_, "/d")), 0);
  EXPECT_EQ(RunBinary(absl::StrCat("inspect ", root_, "/d --json --show 1")), 0);
  EXPECT_EQ(nlohmann::json::parse(printed_)["tokenizer"]["vocab_size"], 60);
}

}  // namespace
}  // namespace bert::data
