#include "dataloader/documents/input_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "dataloader/documents/test_corpus.h"

namespace bert::documents {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class InputFilesTest : public CorpusTest {
 protected:
  // "corpus/name" of every file.
  std::vector<std::string> List(const InputSpec& spec) {
    const auto listed = ListInputFiles(spec);
    status_ = listed.status();
    std::vector<std::string> names;
    if (!listed.ok()) return names;
    for (const InputFile& file : listed->files) {
      names.push_back(listed->corpora[static_cast<size_t>(file.corpus)] + "/" + file.name);
    }
    return names;
  }
  std::string Refusal(const InputSpec& spec) {
    List(spec);
    EXPECT_FALSE(status_.ok());
    return std::string(status_.message());
  }
};

TEST_F(InputFilesTest, DirectoriesGiveTheFilesTheyHoldSorted) {
  Write("text/b.txt", "b");
  Write("text/a/z.jsonl.zst", "z");
  Write("text/a/p.parquet", "p");
  Write("text/a/ignored.md", "md");
  Write("text/c.ndjson.gz", "c");
  Write("text/d.txt.xz", "d");
  Write("text/README", "no");
  EXPECT_THAT(List({.inputs = {directory_ + "/text/"}}),
              ElementsAre("text/a/p.parquet", "text/a/z.jsonl.zst", "text/b.txt", "text/c.ndjson.gz", "text/d.txt.xz"));
  const auto listed = ListInputFiles({.inputs = {directory_ + "/text"}});
  EXPECT_EQ(listed->files[0].format, Format::kParquet);
  EXPECT_EQ(listed->files[1].format, Format::kJsonLines);
  EXPECT_EQ(listed->files[1].compression, Compression::kZstd);
  EXPECT_EQ(listed->files[2].format, Format::kText);
  EXPECT_EQ(listed->files[3].compression, Compression::kGzip);
  EXPECT_EQ(listed->files[4].compression, Compression::kXz);
  EXPECT_EQ(listed->files[2].bytes, 1);
  EXPECT_GT(listed->files[2].modified_ns, 0);
}

TEST_F(InputFilesTest, PatternsGiveWhatTheyMatch) {
  Write("wiki/train-00001.parquet", "");
  Write("wiki/train-00000.parquet", "");
  Write("wiki/test.parquet", "");
  Write("books/a/1.txt", "");
  Write("books/b/1.txt", "");
  EXPECT_THAT(List({.inputs = {directory_ + "/wiki/train-*.parquet", directory_ + "/books/*/1.tx?"}}),
              ElementsAre("wiki/train-00000.parquet", "wiki/train-00001.parquet", "books/a/1.txt", "books/b/1.txt"));
  EXPECT_THAT(List({.inputs = {directory_ + "/b*"}}),
              ElementsAre(HasSubstr("/books/a/1.txt"), HasSubstr("/books/b/1.txt")));
  Write("odd[1].txt", "");
  EXPECT_THAT(List({.inputs = {directory_ + "/odd[1].txt"}}), ElementsAre("odd[1]/odd[1].txt"))
      << "a file of that name comes before the pattern";
}

TEST_F(InputFilesTest, FilesGoByTheirNames) {
  EXPECT_THAT(List({.inputs = {Write("list", "x"), Write("a.txt.gz", ""), Write("v1.2.jsonl", "")}}),
              ElementsAre("list/list", "a/a.txt.gz", "v1.2/v1.2.jsonl"));
}

TEST_F(InputFilesTest, CorporaHaveNamesAndRulesOfTheirOwn) {
  const std::string wiki = Write("w/1.jsonl", "");
  const std::string more = Write("w/2.jsonl", "");
  const std::string books = Write("b/1.parquet", "");
  const auto listed = ListInputFiles({.inputs = {"wikipedia=" + wiki, "books=" + books, "wikipedia=" + more},
                                      .fields = {"books=sentence", "body"},
                                      .documents = {"books=rows:64"}});
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_THAT(listed->corpora, ElementsAre("wikipedia", "books"));
  ASSERT_EQ(listed->files.size(), 3u);
  EXPECT_EQ(listed->files[2].corpus, 0);
  EXPECT_EQ(listed->files[0].rule.field, "body");
  EXPECT_EQ(listed->files[1].rule, (DocumentRule{DocumentRule::Unit::kRows, 64, "sentence"}));
  const std::string equals = Write("x=y.txt", "");
  EXPECT_THAT(List({.inputs = {equals}}), ElementsAre("x=y/x=y.txt"));
}

TEST_F(InputFilesTest, RefusesWhatCannotBe) {
  const std::string text = Write("a.txt", "");
  EXPECT_THAT(Refusal({.inputs = {directory_ + "/none.txt"}}), HasSubstr("none.txt: no such file or directory"));
  EXPECT_TRUE(absl::IsNotFound(status_));
  EXPECT_THAT(Refusal({.inputs = {directory_ + "/*.parquet"}}), HasSubstr("nothing matches"));
  EXPECT_TRUE(absl::IsNotFound(status_));
  std::filesystem::create_directories(directory_ + "/empty");
  EXPECT_THAT(Refusal({.inputs = {directory_ + "/empty"}}), HasSubstr("no *.txt"));
  EXPECT_THAT(Refusal({.inputs = {Write("a.json", "")}}), HasSubstr("no format that is read here"));
  EXPECT_THAT(Refusal({.inputs = {Write("a.parquet.gz", "")}}), HasSubstr("no format that is read here"));
  EXPECT_THAT(Refusal({.inputs = {"/dev/null"}}), HasSubstr("neither a file nor a directory"));
  for (const char* rule : {"rows:0", "rows:x", "rows", "lines", ""}) {
    EXPECT_THAT(Refusal({.inputs = {text}, .documents = {rule}}), HasSubstr("no way to cut documents")) << rule;
  }
  EXPECT_THAT(Refusal({.inputs = {text}, .documents = {"wiki=rows:2"}}),
              HasSubstr("no input belongs to a corpus 'wiki'"));
  EXPECT_THAT(Refusal({.inputs = {Write("a.jsonl", "")}, .documents = {"file"}}), HasSubstr("only a text file"));
}

}  // namespace
}  // namespace bert::documents
