#include "dataloader/corpus/text_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/digest.h"
#include "common/files.h"

namespace bert::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TextReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, std::string_view content) {
    const std::string path = directory_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    EXPECT_TRUE(WriteFile(path, content).ok());
    return path;
  }

  // All documents; the status of the first error in `status_`.
  std::vector<std::string> Read(const std::vector<std::string>& inputs, bool strict = false) {
    std::vector<std::string> documents;
    const auto files = ListTextFiles(inputs);
    status_ = files.status();
    if (!files.ok()) return documents;
    TextReader reader(*files,
                      {.strict = strict, .report = [this](const std::string& line) { reports_.push_back(line); }});
    while (true) {
      auto document = reader.Next();
      status_ = document.status();
      if (!document.ok() || !document->has_value()) break;
      documents.push_back(**document);
    }
    invalid_ = reader.invalid_documents();
    bytes_ = reader.bytes_read();
    sources_ = reader.sources();
    return documents;
  }

  const std::string directory_ = ::testing::TempDir() + "/text_reader_test";
  absl::Status status_;
  std::vector<std::string> reports_;
  int64_t invalid_ = 0;
  int64_t bytes_ = 0;
  std::vector<FileEntry> sources_;
};

TEST_F(TextReaderTest, BlankLinesSeparateDocuments) {
  const std::string path = Write("a.txt", "one\ntwo\n\n \t\n\nthree\n");
  EXPECT_THAT(Read({path}), ElementsAre("one\ntwo", "three"));
  EXPECT_EQ(bytes_, 19);
  EXPECT_THAT(sources_, ElementsAre(FileEntry{"a.txt", 19, Digest("one\ntwo\n\n \t\n\nthree\n")}));
}

TEST_F(TextReaderTest, TheSameTextSavedDifferentlyIsTheSameDocument) {
  const std::string windows = Write("w.txt", "\xEF\xBB\xBFone \r\ntwo\r\n\r\nthree");
  EXPECT_THAT(Read({windows}), ElementsAre("one\ntwo", "three"));
}

TEST_F(TextReaderTest, NothingInAFileIsNoDocument) {
  EXPECT_THAT(Read({Write("empty.txt", ""), Write("blank.txt", "\n\n  \n")}), IsEmpty());
  EXPECT_TRUE(status_.ok());
  EXPECT_EQ(sources_.size(), 2u);
}

TEST_F(TextReaderTest, FilesEndDocuments) {
  EXPECT_THAT(Read({Write("a.txt", "one"), Write("b.txt", "two")}), ElementsAre("one", "two"));
}

TEST_F(TextReaderTest, DirectoriesGiveTheirTextFilesSorted) {
  Write("d/b.txt", "b");
  Write("d/a/z.txt", "z");
  Write("d/a/ignored.md", "md");
  const std::string other = Write("list", "other");
  EXPECT_THAT(Read({other, directory_ + "/d"}), ElementsAre("other", "z", "b"));
  ASSERT_EQ(sources_.size(), 3u);
  EXPECT_EQ(sources_[0].name, "list");
  EXPECT_EQ(sources_[1].name, "a/z.txt");
}

TEST_F(TextReaderTest, LinesLongerThanTheReadBuffer) {
  const std::string longer(3'000'000, 'x');
  EXPECT_THAT(Read({Write("long.txt", longer + "\n" + longer + "\n\nend")}),
              ElementsAre(longer + "\n" + longer, "end"));
}

TEST_F(TextReaderTest, DocumentsThatAreNotUtf8AreLeftOutAndReported) {
  const std::string path = Write("a.txt", "good\n\nfirst\nb\xC3 d\n\xFF\nlast\n\nalso good\n\n\xFE");
  EXPECT_THAT(Read({path}), ElementsAre("good", "also good"));
  EXPECT_EQ(invalid_, 2);
  ASSERT_EQ(reports_.size(), 2u);
  EXPECT_THAT(reports_[0], HasSubstr(path + ":4: not UTF-8 at byte 2 of the line"));
  EXPECT_THAT(reports_[1], HasSubstr(path + ":10: not UTF-8 at byte 1"));
}

TEST_F(TextReaderTest, StrictStopsAtThem) {
  const std::string path = Write("a.txt", "good\n\nb\xC3 d\n\nmore");
  EXPECT_THAT(Read({path}, /*strict=*/true), ElementsAre("good"));
  EXPECT_TRUE(absl::IsInvalidArgument(status_)) << status_;
  EXPECT_THAT(std::string(status_.message()), HasSubstr(path + ":3: not UTF-8"));
}

TEST_F(TextReaderTest, NamesWhatIsMissing) {
  Read({directory_ + "/none.txt"});
  EXPECT_TRUE(absl::IsNotFound(status_));
  EXPECT_THAT(std::string(status_.message()), HasSubstr("none.txt: no such file"));
  Read({directory_});
  EXPECT_TRUE(absl::IsNotFound(status_));
  EXPECT_THAT(std::string(status_.message()), HasSubstr("no .txt file"));
}

TEST_F(TextReaderTest, AFileThatVanishesIsAnErrorAndThenTheEnd) {
  const std::string path = Write("a.txt", "one");
  TextReader reader({{path + ".gone", "gone", 3}, {path, "a.txt", 3}}, {});
  EXPECT_TRUE(absl::IsNotFound(reader.Next().status()));
  const auto next = reader.Next();
  ASSERT_TRUE(next.ok());
  EXPECT_FALSE(next->has_value());
}

}  // namespace
}  // namespace bert::corpus
