#include "dataloader/documents/text_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "dataloader/documents/test_corpus.h"

namespace bert::documents {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TextReaderTest : public CorpusTest {};

TEST_F(TextReaderTest, BlankLinesSeparateDocuments) {
  const std::string content = "one\ntwo\n\n \t\n\nthree\n";
  EXPECT_THAT(Read(File(Write("a.txt", content))), ElementsAre("one\ntwo", "three"));
  EXPECT_EQ(end_.bytes, 19);
  EXPECT_EQ(end_.digest, Digest(content));
}

TEST_F(TextReaderTest, TheSameTextSavedDifferentlyIsTheSameDocument) {
  EXPECT_THAT(Read(File(Write("w.txt", "\xEF\xBB\xBFone \r\ntwo\r\n\r\nthree"))), ElementsAre("one\ntwo", "three"));
}

TEST_F(TextReaderTest, NothingInAFileIsNoDocument) {
  for (const std::string content : {"", "\n\n  \n", "\xEF\xBB\xBF"}) {
    EXPECT_THAT(Read(File(Write("empty.txt", content))), IsEmpty());
    EXPECT_TRUE(status_.ok()) << status_;
    EXPECT_EQ(end_.bytes, static_cast<int64_t>(content.size()));
  }
}

TEST_F(TextReaderTest, AWholeFileCanBeADocument) {
  EXPECT_THAT(Read(File(Write("a.txt", "one\n\n\ntwo \n\n"), "file")), ElementsAre("one\ntwo"));
  EXPECT_THAT(Read(File(Write("bad.txt", "one\n\ntw\xFFo\n"), "file")), IsEmpty());
  ASSERT_EQ(faults_.size(), 1u);
  EXPECT_THAT(faults_[0].message, HasSubstr("bad.txt:3: not UTF-8 at byte 3"));
}

TEST_F(TextReaderTest, SoManyLinesCanBeADocument) {
  EXPECT_THAT(Read(File(Write("a.txt", "1\n2\n3\n4\n5\n\n6\n7\n"), "rows:2")),
              ElementsAre("1\n2", "3\n4", "5", "6\n7"));
}

TEST_F(TextReaderTest, LinesLongerThanTheReadBuffer) {
  const std::string longer(3'000'000, 'x');
  EXPECT_THAT(Read(File(Write("long.txt", longer + "\n" + longer + "\n\nend"))),
              ElementsAre(longer + "\n" + longer, "end"));
}

TEST_F(TextReaderTest, DocumentsThatAreNotUtf8AreFaults) {
  const std::string path = Write("a.txt", "good\n\nfirst\nb\xC3 d\n\xFF\nlast\n\nalso good\n\n\xFE");
  EXPECT_THAT(Read(File(path)), ElementsAre("good", "also good"));
  EXPECT_THAT(faults_, ElementsAre(Fault{Fault::Kind::kDocument, path + ":4: not UTF-8 at byte 2 of the line"},
                                   Fault{Fault::Kind::kDocument, path + ":10: not UTF-8 at byte 1 of the line"}));
}

TEST_F(TextReaderTest, ReadsPackedFiles) {
  for (const auto& [extension, compression] :
       {std::pair{".gz", Compression::kGzip}, {".zst", Compression::kZstd}, {".xz", Compression::kXz}}) {
    const std::string packed = Pack(compression, "one\ntwo\n\nthree\n");
    EXPECT_THAT(Read(File(Write(absl::StrCat("a.txt", extension), packed))), ElementsAre("one\ntwo", "three"));
    EXPECT_EQ(end_.digest, Digest(packed)) << "of the file as it lies on disk";
  }
}

TEST_F(TextReaderTest, ACutOffFileKeepsWhatIsWholeAndNamesTheLine) {
  std::string text;
  for (int i = 0; i < 40'000; ++i) absl::StrAppend(&text, "document ", i * 7919 % 40'009, "\n\n");
  for (const auto& [extension, compression] :
       {std::pair{".gz", Compression::kGzip}, {".zst", Compression::kZstd}, {".xz", Compression::kXz}}) {
    const std::string packed = Pack(compression, text);
    const std::string half = packed.substr(0, packed.size() / 2);
    const std::string path = Write(absl::StrCat("half.txt", extension), half);
    const auto documents = Read(File(path));
    EXPECT_TRUE(status_.ok()) << status_;
    std::string expected;
    for (const std::string& document : documents) absl::StrAppend(&expected, document, "\n\n");
    EXPECT_EQ(text.compare(0, expected.size(), expected), 0) << extension;
    ASSERT_EQ(faults_.size(), 1u);
    EXPECT_EQ(faults_[0].kind, Fault::Kind::kFile);
    // The line behind the last that came out whole, and the byte on disk at which the file ends.
    EXPECT_THAT(faults_[0].message, HasSubstr(absl::StrCat(path, ":")));
    EXPECT_THAT(faults_[0].message, HasSubstr(absl::StrCat("stream ends early, at byte ", half.size())));
    EXPECT_EQ(end_.digest, Digest(half));
  }
}

TEST_F(TextReaderTest, AFileThatVanishesIsAnError) {
  InputFile file = File(Write("a.txt", "one"));
  file.path += ".gone";
  Read(file);
  EXPECT_TRUE(absl::IsNotFound(status_)) << status_;
}

}  // namespace
}  // namespace bert::documents
