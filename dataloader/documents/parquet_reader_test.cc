#include "dataloader/documents/parquet_reader.h"

#include <arrow/io/file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <parquet/api/writer.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "dataloader/documents/test_corpus.h"

namespace bert::documents {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Texts = std::vector<std::optional<std::string>>;

class ParquetReaderTest : public CorpusTest {
 protected:
  // Columns as the public Wikipedia has them, but id a number; `row_group` rows a group.
  std::string WriteParquet(const std::string& name, const Texts& texts, size_t row_group = 3,
                           parquet::Compression::type codec = parquet::Compression::SNAPPY) {
    using parquet::schema::GroupNode;
    using parquet::schema::PrimitiveNode;
    const auto schema = std::static_pointer_cast<GroupNode>(GroupNode::Make(
        "schema", parquet::Repetition::REQUIRED,
        {PrimitiveNode::Make("id", parquet::Repetition::REQUIRED, parquet::Type::INT64),
         PrimitiveNode::Make("text", parquet::Repetition::OPTIONAL, parquet::LogicalType::String(),
                             parquet::Type::BYTE_ARRAY),
         GroupNode::Make("meta", parquet::Repetition::OPTIONAL,
                         {PrimitiveNode::Make("title", parquet::Repetition::REQUIRED, parquet::LogicalType::String(),
                                              parquet::Type::BYTE_ARRAY)})}));
    const std::string path = directory_ + "/" + name;
    auto file = *arrow::io::FileOutputStream::Open(path);
    const auto properties = parquet::WriterProperties::Builder().compression(codec)->enable_page_checksum()->build();
    auto writer = parquet::ParquetFileWriter::Open(file, schema, properties);
    for (size_t begin = 0; begin < texts.size(); begin += row_group) {
      const size_t end = std::min(texts.size(), begin + row_group);
      parquet::RowGroupWriter* group = writer->AppendRowGroup();
      auto* ids = static_cast<parquet::Int64Writer*>(group->NextColumn());
      for (size_t row = begin; row < end; ++row) {
        const auto id = static_cast<int64_t>(row);
        ids->WriteBatch(1, nullptr, nullptr, &id);
      }
      auto* column = static_cast<parquet::ByteArrayWriter*>(group->NextColumn());
      for (size_t row = begin; row < end; ++row) {
        const int16_t level = texts[row] ? 1 : 0;
        const parquet::ByteArray value = texts[row] ? parquet::ByteArray(*texts[row]) : parquet::ByteArray();
        column->WriteBatch(1, &level, nullptr, &value);
      }
      auto* titles = static_cast<parquet::ByteArrayWriter*>(group->NextColumn());
      for (size_t row = begin; row < end; ++row) {
        const int16_t level = 1;
        const parquet::ByteArray value("title");
        titles->WriteBatch(1, &level, nullptr, &value);
      }
    }
    writer->Close();
    EXPECT_TRUE(file->Close().ok());
    return path;
  }
};

TEST_F(ParquetReaderTest, ARowIsADocument) {
  const std::string path = WriteParquet("a.parquet", {"one\n\ntwo ", "th\u00e9", "one\n\ntwo ", "", "last"}, 2);
  EXPECT_THAT(Read(File(path)), ElementsAre("one\ntwo", "th\u00e9", "one\ntwo", "", "last"));
  EXPECT_THAT(faults_, IsEmpty());
  EXPECT_EQ(end_.digest, Digest(*ReadFile(path)));
}

TEST_F(ParquetReaderTest, ManyRowsOfEveryLength) {
  std::mt19937 random(5);
  Texts texts;
  std::vector<std::string> expected;
  for (int i = 0; i < 5000; ++i) {
    expected.push_back(absl::StrCat(i, ":", std::string(random() % (i % 500 == 0 ? 500'000 : 300), 'x')));
    texts.push_back(expected.back());
  }
  for (const auto codec : {parquet::Compression::UNCOMPRESSED, parquet::Compression::SNAPPY, parquet::Compression::ZSTD,
                           parquet::Compression::GZIP}) {
    EXPECT_TRUE(Read(File(WriteParquet("a.parquet", texts, 1700, codec))) == expected) << codec;
    EXPECT_TRUE(faults_.empty()) << faults_[0].message;
  }
}

TEST_F(ParquetReaderTest, SentencesCanBeJoined) {
  const std::string path = WriteParquet("books.parquet", {"s1", "s2", "s3", "s4", "s5", "s6", "s7"}, 2);
  EXPECT_THAT(Read(File(path, "rows:3")), ElementsAre("s1\ns2\ns3", "s4\ns5\ns6", "s7"));
}

TEST_F(ParquetReaderTest, RowsWithoutTextAreFaults) {
  const std::string path = WriteParquet("a.parquet", {"one", std::nullopt, "t\xFFo", "last", std::nullopt});
  EXPECT_THAT(Read(File(path)), ElementsAre("one", "last"));
  EXPECT_THAT(faults_, ElementsAre(Fault{Fault::Kind::kDocument, path + ": row 2: no text (null)"},
                                   Fault{Fault::Kind::kDocument, path + ": row 3: not UTF-8 at byte 2 of the text"},
                                   Fault{Fault::Kind::kDocument, path + ": row 5: no text (null)"}));
}

TEST_F(ParquetReaderTest, WrongColumnsAreNamed) {
  const std::string path = WriteParquet("a.parquet", {"one"});
  for (const auto& [field, what] : {std::pair{"body", ": no column 'body'; its columns are id, text, meta.title"},
                                    {"id", ": column 'id' does not hold strings but INT64"}}) {
    EXPECT_THAT(Read(File(path, "auto", field)), IsEmpty());
    EXPECT_THAT(faults_, ElementsAre(Fault{Fault::Kind::kFile, path + what}));
  }
  EXPECT_THAT(Read(File(path, "auto", "meta.title")), ElementsAre("title")) << "inside a group";
}

TEST_F(ParquetReaderTest, EveryPrefixIsCutOff) {
  const std::string whole = *ReadFile(WriteParquet("a.parquet", {"one", "two", "three"}));
  for (size_t size = 0; size < whole.size(); size += 7) {
    const std::string path = Write("cut.parquet", whole.substr(0, size));
    EXPECT_THAT(Read(File(path)), IsEmpty()) << size;
    ASSERT_TRUE(status_.ok()) << status_;
    ASSERT_EQ(faults_.size(), 1u) << size;
    EXPECT_EQ(faults_[0].kind, Fault::Kind::kFile);
    EXPECT_THAT(faults_[0].message, HasSubstr("cut.parquet: no Parquet, or cut off: ")) << size;
    EXPECT_EQ(faults_[0].message.find('\n'), std::string::npos);
  }
}

TEST_F(ParquetReaderTest, ADamagedPageIsNamedByItsRowAndTheRowsBeforeCount) {
  Texts texts;
  for (int i = 0; i < 1000; ++i) texts.push_back(absl::StrCat("this is text number ", i));
  std::string bytes = *ReadFile(WriteParquet("a.parquet", texts, 100, parquet::Compression::UNCOMPRESSED));
  const size_t at = bytes.find("number 550");
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  const std::string path = Write("damaged.parquet", bytes);
  EXPECT_EQ(Read(File(path)).size(), 500u);
  ASSERT_EQ(faults_.size(), 1u);
  EXPECT_EQ(faults_[0].kind, Fault::Kind::kFile);
  EXPECT_THAT(faults_[0].message, HasSubstr(path + ": row 501 or soon behind it: damaged: "));
}

TEST_F(ParquetReaderTest, FlippedBitsNeverGetFurtherThanThisFolder) {
  const std::string whole = *ReadFile(WriteParquet("a.parquet", {"one", "two", "three", "four", "five"}));
  for (size_t bit = 0; bit < 8 * whole.size(); bit += 13) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    Read(File(Write("damaged.parquet", damaged)));
    ASSERT_TRUE(status_.ok()) << "bit " << bit << ": " << status_;
  }
}

}  // namespace
}  // namespace bert::documents
