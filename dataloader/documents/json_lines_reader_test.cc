#include "dataloader/documents/json_lines_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dataloader/documents/test_corpus.h"

namespace bert::documents {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class JsonLinesReaderTest : public CorpusTest {
 protected:
  std::vector<std::string> Messages() const {
    std::vector<std::string> messages;
    for (const Fault& fault : faults_) messages.push_back(fault.message);
    return messages;
  }
};

TEST_F(JsonLinesReaderTest, ARowIsADocument) {
  const std::string path = Write("a.jsonl", R"({"id": 1, "text": "one\n\n two \r\n", "meta": {"text": "no"}}

{"text": "th\u00e9 \ud83d\ude00 \"end\"\u0000", "other": [1, 2.5e300, null]}
{"text": ""}
{"title": "x", "text": "last"})");
  using namespace std::string_literals;
  EXPECT_THAT(Read(File(path)), ElementsAre("one\n two", "th\u00e9 \U0001F600 \"end\"\0"s, "", "last"));
  EXPECT_TRUE(faults_.empty()) << faults_[0].message;
}

TEST_F(JsonLinesReaderTest, TheFieldCanHaveAnotherName) {
  EXPECT_THAT(Read(File(Write("a.ndjson", "\xEF\xBB\xBF{\"body\": \"one\"}\n"), "auto", "body")), ElementsAre("one"));
}

TEST_F(JsonLinesReaderTest, EveryWrongLineIsNamed) {
  const std::string path = Write("a.jsonl", std::string(R"({"text": "one"}
{"text": "tw
{"body": "x"}
{"text": 3}
["text"]
{"text": null}
{"text": "\ud800"}
)") + "{\"text\": \"\xFF\"}\n{\"text\": \"last\"}\n{\"text\": \"cut o");
  EXPECT_THAT(Read(File(path)), ElementsAre("one", "last"));
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_THAT(
      Messages(),
      ElementsAre(HasSubstr(path + ":2: not JSON: "), HasSubstr(path + ":3: no field 'text'"),
                  HasSubstr(path + ":4: field 'text' is not a string"), HasSubstr(path + ":5: not a JSON object"),
                  HasSubstr(path + ":6: field 'text' is not a string"), HasSubstr(path + ":7: not JSON: "),
                  HasSubstr(path + ":8: not UTF-8 at byte 11 of the line"), HasSubstr(path + ":10: not JSON: ")));
}

TEST_F(JsonLinesReaderTest, RowsCanBeJoined) {
  std::string content;
  for (int i = 1; i <= 7; ++i) absl::StrAppend(&content, "{\"text\": \"s", i, "\"}\n");
  EXPECT_THAT(Read(File(Write("a.jsonl", content), "rows:3")), ElementsAre("s1\ns2\ns3", "s4\ns5\ns6", "s7"));
  EXPECT_THAT(Read(File(Write("b.jsonl", "{\"text\": \"1\"}\nbad\n{\"text\": \"2\"}\n"), "rows:2")),
              ElementsAre("1\n2"))
      << "a row at fault is left out of its document";
  EXPECT_EQ(faults_.size(), 1u);
}

TEST_F(JsonLinesReaderTest, ACutOffFileKeepsTheRowsBefore) {
  std::string content;
  for (int i = 0; i < 30'000; ++i) absl::StrAppend(&content, "{\"text\": \"s", i * 7919 % 30'011, "\"}\n");
  const std::string packed = Pack(Compression::kGzip, content);
  const std::string path = Write("a.jsonl.gz", packed.substr(0, packed.size() - 9));
  const auto documents = Read(File(path, "rows:1000"));
  EXPECT_TRUE(status_.ok()) << status_;
  ASSERT_EQ(faults_.size(), 1u);
  EXPECT_EQ(faults_[0].kind, Fault::Kind::kFile);
  EXPECT_THAT(faults_[0].message, HasSubstr("cut off: the gzip stream ends early"));
  ASSERT_GT(documents.size(), 20u);
  EXPECT_THAT(documents[0], HasSubstr("s0\ns7919\n"));
}

}  // namespace
}  // namespace bert::documents
