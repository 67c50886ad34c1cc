#include "dataloader/corpus/dataset_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/corpus/encoding_pipeline.h"
#include "dataloader/text/tokenizer_files.h"
#include "dataloader/text/wordpiece.h"

namespace bert::corpus {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DatasetBuilderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_);
    WriteTokenizer({"a", "b", "##b", "c", "[", "]", "mask"});
  }
  void TearDown() override { fs::remove_all(root_); }

  void WriteTokenizer(const std::vector<std::string>& pieces) {
    std::vector<std::string> tokens(text::kSpecialTokens.begin(), text::kSpecialTokens.end());
    tokens.insert(tokens.end(), pieces.begin(), pieces.end());
    const text::WordPieceTokenizer tokenizer(*text::Vocabulary::FromTokens(tokens), {});
    ASSERT_TRUE(text::WriteTokenizerFiles(tokenizer, root_ + "/tokenizer").ok());
  }

  void WriteCorpus(const std::vector<std::string>& documents, const std::string& name = "corpus.txt") {
    std::string content;
    for (const std::string& document : documents) absl::StrAppend(&content, document, "\n\n");
    ASSERT_TRUE(WriteFile(root_ + "/" + name, content).ok());
  }

  // Distinct documents of the letters a, b and c.
  static std::vector<std::string> Documents(int count) {
    std::vector<std::string> documents;
    for (int i = 0; i < count; ++i) {
      std::string document;
      for (int digits = i + 1; digits > 0; digits /= 3)
        absl::StrAppend(&document, std::string(1, "abc"[digits % 3]), " ");
      document.pop_back();
      documents.push_back(document);
    }
    return documents;
  }

  BuildOptions Options() const {
    return {.inputs = {.inputs = {root_ + "/corpus.txt"}},
            .tokenizer_directory = root_ + "/tokenizer",
            .output = root_ + "/dataset"};
  }

  // Ids of every document of a split, in stored order.
  std::vector<std::vector<int32_t>> Stored(SplitKind kind) const {
    const auto dataset = Dataset::Open(root_ + "/dataset");
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    std::vector<std::vector<int32_t>> documents;
    if (!dataset.ok()) return documents;
    const SplitView& split = (*dataset)->split(kind);
    for (int64_t d = 0; d < split.documents(); ++d) {
      const int64_t begin = split.DocumentBegin(d);
      std::vector<int32_t> ids(static_cast<size_t>(split.DocumentBegin(d + 1) - begin));
      split.CopyTokens(begin, static_cast<int64_t>(ids.size()), ids.data());
      documents.push_back(ids);
    }
    return documents;
  }

  const std::string root_ = ::testing::TempDir() + "/dataset_builder_test";
};

TEST_F(DatasetBuilderTest, StoresWhatTheTokenizerGives) {
  WriteCorpus({"a bb\nc", "C x [MASK]"});
  BuildOptions options = Options();
  options.validation_share = 0;
  const auto report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(Stored(SplitKind::kTrain), ElementsAre(ElementsAre(5, 6, 7, 8), ElementsAre(8, 1, 9, 11, 10)))
      << "a special token's name in a corpus is text";
  EXPECT_EQ(report->manifest.train.documents, 2);
  EXPECT_EQ(report->manifest.train.words, 6);
  EXPECT_EQ(report->manifest.train.tokens, 9);
  EXPECT_EQ(report->manifest.token_bytes, 2);
  EXPECT_EQ(report->manifest.tokenizer.vocab_size, 12);
  EXPECT_THAT(report->manifest.corpora, ElementsAre(CorpusEntry{.name = "corpus",
                                                                .files = 1,
                                                                .bytes = 20,
                                                                .documents = 2,
                                                                .text_bytes = 16,
                                                                .words = 6,
                                                                .tokens = 9,
                                                                .unknown_tokens = 1}));
  EXPECT_EQ(report->manifest.sources[0].name, "corpus.txt");
  EXPECT_TRUE(Verify(root_ + "/dataset").ok());
  EXPECT_EQ(report->manifest.digest, ReadManifest(root_ + "/dataset")->digest);
}

TEST_F(DatasetBuilderTest, EveryDocumentKeepsItsSide) {
  std::vector<std::string> documents = Documents(400);
  WriteCorpus(documents);
  BuildOptions options = Options();
  options.validation_share = 0.25;
  ASSERT_TRUE(BuildDataset(options).ok());
  const auto train = Stored(SplitKind::kTrain);
  const auto validation = Stored(SplitKind::kValidation);
  EXPECT_EQ(train.size() + validation.size(), 400u);
  EXPECT_NEAR(static_cast<double>(validation.size()), 100, 30);

  // Other neighbours, another order, half of the documents.
  std::reverse(documents.begin(), documents.end());
  documents.resize(200);
  WriteCorpus(documents);
  options.force = true;
  ASSERT_TRUE(BuildDataset(options).ok());
  const std::set<std::vector<int32_t>> first_train(train.begin(), train.end());
  const std::set<std::vector<int32_t>> first_validation(validation.begin(), validation.end());
  for (const auto& document : Stored(SplitKind::kTrain)) EXPECT_TRUE(first_train.contains(document));
  for (const auto& document : Stored(SplitKind::kValidation)) EXPECT_TRUE(first_validation.contains(document));
}

TEST_F(DatasetBuilderTest, ALargerShareOnlyAddsToValidation) {
  for (const std::string& document : Documents(300)) {
    if (SplitOf(document, 0.05) == SplitKind::kValidation) {
      EXPECT_EQ(SplitOf(document, 0.1), SplitKind::kValidation);
    }
    EXPECT_EQ(SplitOf(document, 0), SplitKind::kTrain);
  }
  // Fixed for good: another hash would move documents of datasets that people compare.
  EXPECT_EQ(SplitOf("It is a truth universally acknowledged", 0.5), SplitKind::kValidation);
  EXPECT_EQ(SplitOf("Moby-Dick; or, The Whale", 0.05), SplitKind::kTrain);
  EXPECT_EQ(SplitOf("Call me Ishmael.", 0.5), SplitKind::kValidation);
}

TEST_F(DatasetBuilderTest, ThreadsDoNotShow) {
  WriteCorpus(Documents(500));
  BuildOptions options = Options();
  options.shard_tokens_max = 300;
  const auto one = BuildDataset(options);
  ASSERT_TRUE(one.ok()) << one.status();
  options.threads = 4;
  options.batch_bytes = 100;
  options.journal_bytes = 700;
  options.force = true;
  const auto four = BuildDataset(options);
  ASSERT_TRUE(four.ok()) << four.status();
  EXPECT_EQ(one->manifest, four->manifest);
}

TEST_F(DatasetBuilderTest, ShardsEndBeforeTheyAreTooLong) {
  WriteCorpus({"a a a", "b b b b", "c c c", "a a a a a a a a a a a a", "b"});
  BuildOptions options = Options();
  options.validation_share = 0;
  options.shard_tokens_max = 7;
  const auto report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  std::vector<int64_t> tokens;
  for (const ShardInfo& shard : report->manifest.train.shards) tokens.push_back(shard.tokens);
  EXPECT_THAT(tokens, ElementsAre(7, 3, 12, 1));
  EXPECT_EQ(report->manifest.train.shards[2].file, "shards/train-00002.bin");
  EXPECT_EQ(Stored(SplitKind::kTrain).size(), 5u);
}

TEST_F(DatasetBuilderTest, LeavesOutDuplicatesInvalidAndEmptyDocumentsAndCountsThem) {
  WriteCorpus({"a b", "c", "a b", "b\xFF", "\xE2\x80\x8B", "c\r"});
  std::vector<std::string> reports;
  BuildOptions options = Options();
  options.validation_share = 0;
  options.report = [&](const std::string& line) { reports.push_back(line); };
  const auto report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->manifest.train.documents, 2);
  const CorpusEntry& corpus = report->manifest.corpora.at(0);
  EXPECT_EQ(corpus.duplicate_documents, 2);
  EXPECT_EQ(corpus.invalid_documents, 1);
  EXPECT_EQ(corpus.empty_documents, 1);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_THAT(reports[0], HasSubstr("corpus.txt:7: not UTF-8"));
}

TEST_F(DatasetBuilderTest, StrictFailsAndLeavesNothing) {
  WriteCorpus({"a b", "b\xFF"});
  BuildOptions options = Options();
  options.strict = true;
  const auto report = BuildDataset(options);
  EXPECT_TRUE(absl::IsInvalidArgument(report.status()));
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("corpus.txt:3"));
  EXPECT_FALSE(fs::exists(root_ + "/dataset"));
  EXPECT_FALSE(fs::exists(root_ + "/dataset.partial"));
}

TEST_F(DatasetBuilderTest, AnInterruptedBuildKeepsTheOldDatasetAndGoesOn) {
  WriteCorpus({"a b", "c"});
  BuildOptions options = Options();
  options.validation_share = 0;
  const auto old = BuildDataset(options);
  ASSERT_TRUE(old.ok()) << old.status();
  WriteCorpus(Documents(300));
  options.force = true;
  options.batch_bytes = 100;
  int batches = 0;
  options.cancelled = [&batches] { return ++batches > 20; };
  const absl::Status cancelled = BuildDataset(options).status();
  EXPECT_TRUE(absl::IsCancelled(cancelled)) << cancelled;
  EXPECT_THAT(std::string(cancelled.message()), HasSubstr("the same command goes on"));
  EXPECT_EQ(ReadManifest(root_ + "/dataset")->digest, old->manifest.digest);
  options.cancelled = {};
  const auto resumed = BuildDataset(options);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_GT(resumed->resumed_bytes, 0);
  EXPECT_EQ(resumed->restart_reason, "");
  EXPECT_FALSE(fs::exists(root_ + "/dataset.partial"));
  EXPECT_FALSE(fs::exists(root_ + "/dataset.journal"));
  const auto undisturbed = BuildDataset(options);
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
  EXPECT_EQ(undisturbed->resumed_bytes, 0);
  EXPECT_EQ(resumed->manifest, undisturbed->manifest);
}

TEST_F(DatasetBuilderTest, AnUnfinishedBuildOfSomethingElseIsNotGoneOnWith) {
  const auto interrupt = [&](BuildOptions options) {
    int batches = 0;
    options.batch_bytes = 100;
    options.cancelled = [&batches] { return ++batches > 10; };
    EXPECT_TRUE(absl::IsCancelled(BuildDataset(options).status()));
  };
  WriteCorpus(Documents(300));
  const BuildOptions options = Options();
  interrupt(options);
  BuildOptions other = options;
  other.validation_share = 0.5;
  auto report = BuildDataset(other);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->restart_reason, "it has other options");
  EXPECT_EQ(report->resumed_bytes, 0);

  fs::remove_all(options.output);
  interrupt(options);
  WriteTokenizer({"a", "b", "c"});
  report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->restart_reason, "it has another tokenizer");

  fs::remove_all(options.output);
  interrupt(options);
  WriteCorpus(Documents(301));
  report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->restart_reason, "input files have changed");

  fs::remove_all(options.output);
  interrupt(options);
  const std::string entry = root_ + "/dataset.journal/build.json";
  std::string text = *ReadFile(entry);
  text[text.find("\"items\":") + 8] ^= 1;
  ASSERT_TRUE(WriteFile(entry, text).ok());
  report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->restart_reason, HasSubstr("its journal is "));

  fs::remove_all(options.output);
  interrupt(options);
  fs::resize_file(root_ + "/dataset.partial/shards/train-00000.bin.partial", 100);
  report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->restart_reason, HasSubstr("train-00000.bin.partial: has 100 bytes"));
  EXPECT_TRUE(Verify(options.output).ok());
}

TEST_F(DatasetBuilderTest, CorporaAreCountedApart) {
  WriteCorpus({"a b", "c", "x x"}, "one.txt");
  WriteCorpus({"a b", "c c"}, "two.txt");
  ASSERT_TRUE(WriteFile(root_ + "/three.jsonl", "{\"text\": \"b\"}\n{\"text\": \"a\"}\n{\"body\": 1}\n").ok());
  BuildOptions options = Options();
  options.validation_share = 0;
  options.inputs = {.inputs = {"first=" + root_ + "/one.txt", root_ + "/*.jsonl", "first=" + root_ + "/two.txt"},
                    .documents = {"dataset_builder_test=rows:2"}};
  const auto report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->manifest.corpora.size(), 2u);
  const CorpusEntry& first = report->manifest.corpora[0];
  EXPECT_EQ(first.name, "first");
  EXPECT_EQ(first.files, 2);
  EXPECT_EQ(first.documents, 4);
  EXPECT_EQ(first.words, 7);
  EXPECT_EQ(first.unknown_tokens, 2);
  EXPECT_EQ(first.duplicate_documents, 1);
  const CorpusEntry& second = report->manifest.corpora[1];
  EXPECT_EQ(second.documents, 1);
  EXPECT_EQ(second.tokens, 2);
  EXPECT_EQ(second.invalid_documents, 1);
  EXPECT_EQ(*ReadManifest(options.output), report->manifest);
}

TEST_F(DatasetBuilderTest, NoTextIsInBothSplits) {
  std::vector<std::string> documents = Documents(150);
  std::mt19937 random(11);
  for (int i = 0; i < 600; ++i) documents.push_back(documents[random() % 150]);
  WriteCorpus(documents);
  BuildOptions options = Options();
  options.validation_share = 0.3;
  options.threads = 3;
  options.batch_bytes = 500;
  ASSERT_TRUE(BuildDataset(options).ok());
  const auto train = Stored(SplitKind::kTrain);
  const auto validation = Stored(SplitKind::kValidation);
  const std::set<std::vector<int32_t>> trained(train.begin(), train.end());
  const std::set<std::vector<int32_t>> validated(validation.begin(), validation.end());
  EXPECT_EQ(train.size() + validation.size(), 150u);
  EXPECT_EQ(trained.size() + validated.size(), 150u);
  for (const auto& document : validated) EXPECT_FALSE(trained.contains(document));
}

TEST_F(DatasetBuilderTest, ADamagedFileKeepsWhatIsWholeUnlessStrict) {
  ASSERT_TRUE(WriteFile(root_ + "/cut.txt.gz", std::string("\x1f\x8b\x08\0\0\0\0\0", 8)).ok());
  WriteCorpus({"a b", "c"});
  BuildOptions options = Options();
  options.validation_share = 0;
  options.inputs.inputs = {root_ + "/cut.txt.gz", root_ + "/corpus.txt"};
  std::vector<std::string> reports;
  options.report = [&](const std::string& line) { reports.push_back(line); };
  const auto report = BuildDataset(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->manifest.corpora[0].damaged_files, 1);
  EXPECT_EQ(report->manifest.train.documents, 2);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_THAT(reports[0], HasSubstr("cut.txt.gz:1: cut off: the gzip stream ends early, at byte 8; the rest of the"));
  options.strict = true;
  options.force = true;
  const absl::Status strict = BuildDataset(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(strict)) << strict;
  EXPECT_THAT(std::string(strict.message()), HasSubstr("cut.txt.gz:1: cut off"));
}

TEST_F(DatasetBuilderTest, RefusesToOverwrite) {
  WriteCorpus({"a b", "c"});
  BuildOptions options = Options();
  options.validation_share = 0;
  ASSERT_TRUE(BuildDataset(options).ok());
  const auto again = BuildDataset(options);
  EXPECT_TRUE(absl::IsAlreadyExists(again.status()));
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("--force"));
  options.force = true;
  EXPECT_TRUE(BuildDataset(options).ok());
  ASSERT_TRUE(WriteFile(root_ + "/dataset/thesis.tex", "years of work").ok());
  const auto precious = BuildDataset(options);
  EXPECT_TRUE(absl::IsAlreadyExists(precious.status()));
  EXPECT_THAT(std::string(precious.status().message()), HasSubstr("thesis.tex"));
  EXPECT_TRUE(fs::exists(root_ + "/dataset/thesis.tex"));
}

TEST_F(DatasetBuilderTest, RefusesOptionsThatCannotBe) {
  WriteCorpus({"a"});
  BuildOptions options = Options();
  options.validation_share = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(BuildDataset(options).status()));
  options = Options();
  options.validation_share = std::nan("");
  EXPECT_TRUE(absl::IsInvalidArgument(BuildDataset(options).status()));
  options = Options();
  options.inputs.inputs = {root_ + "/none.txt"};
  EXPECT_TRUE(absl::IsNotFound(BuildDataset(options).status()));
  options = Options();
  options.tokenizer_directory = root_ + "/none";
  EXPECT_TRUE(absl::IsNotFound(BuildDataset(options).status()));
  options = Options();
  options.inputs.inputs = {root_};
  EXPECT_THAT(std::string(BuildDataset(options).status().message()), HasSubstr("inside the input"));
  WriteCorpus({});
  EXPECT_THAT(std::string(BuildDataset(Options()).status().message()), HasSubstr("no document for training"));
}

TEST_F(DatasetBuilderTest, VerifyFindsAnyFlippedBit) {
  WriteCorpus(Documents(50));
  BuildOptions options = Options();
  options.validation_share = 0.2;
  options.shard_tokens_max = 60;
  ASSERT_TRUE(BuildDataset(options).ok());
  ASSERT_TRUE(Verify(options.output).ok());
  std::mt19937 random(13);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(options.output)) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const std::string path = entry.path().string();
    const std::string good = *ReadFile(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&file](size_t at, char value) { file.seekp(static_cast<std::streamoff>(at)).put(value).flush(); };
    // Every bit of the manifest, where the digests are; elsewhere one of each byte.
    const bool all = entry.path().filename() == kManifestFile;
    for (size_t at = 0; at < good.size(); ++at) {
      const int chosen = static_cast<int>(random() % 8);
      for (int bit = all ? 0 : chosen; bit <= (all ? 7 : chosen); ++bit) {
        put(at, static_cast<char>(good[at] ^ (1 << bit)));
        const absl::Status status = Verify(options.output);
        ASSERT_FALSE(status.ok()) << path << ": bit " << bit << " of byte " << at;
        ASSERT_THAT(std::string(status.message()), HasSubstr(options.output)) << status;
      }
      put(at, good[at]);
    }
  }
  EXPECT_GE(files, 8);
  EXPECT_TRUE(Verify(options.output).ok());
}

TEST_F(DatasetBuilderTest, VerifyNamesAnotherVocabulary) {
  WriteCorpus(Documents(50));
  const BuildOptions options = Options();
  ASSERT_TRUE(BuildDataset(options).ok());
  WriteTokenizer({"a", "b", "##b", "c", "[", "]", "other"});
  fs::copy(root_ + "/tokenizer/vocab.txt", options.output + "/tokenizer/vocab.txt",
           fs::copy_options::overwrite_existing);
  const absl::Status status = Verify(options.output);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("vocab.txt: the vocabulary does not match the dataset"));
}

TEST(UnigramCrossEntropyTest, IsThatOfSmoothedTrainingCounts) {
  // Training 3 1 0 becomes 4/7 2/7 1/7.
  const double expected = -(std::log(4.0 / 7) + std::log(2.0 / 7) + 2 * std::log(1.0 / 7)) / 4;
  EXPECT_DOUBLE_EQ(UnigramCrossEntropy({3, 1, 0}, {1, 1, 2}), expected);
  EXPECT_EQ(UnigramCrossEntropy({3, 1}, {0, 0}), 0);
}

}  // namespace
}  // namespace bert::corpus
