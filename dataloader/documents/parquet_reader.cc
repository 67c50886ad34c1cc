#include "dataloader/documents/parquet_reader.h"

#include <arrow/memory_pool.h>
#include <parquet/api/reader.h>
#include <parquet/exception.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/digest.h"
#include "common/status_macros.h"
#include "dataloader/documents/byte_source.h"
#include "dataloader/documents/row_reader.h"
#include "dataloader/text/unicode.h"

namespace bert::documents {
namespace {

constexpr int64_t kBatchRows = 256;
constexpr int64_t kBufferBytes = 1 << 20;

parquet::ReaderProperties Properties() {
  parquet::ReaderProperties properties(arrow::system_memory_pool());
  // Page by page: without it a row group's whole column is read at once.
  properties.enable_buffered_stream();
  properties.set_buffer_size(kBufferBytes);
  properties.set_page_checksum_verification(true);
  return properties;
}

// Arrow's messages have several lines.
std::string OneLine(const std::exception& error) { return absl::StrReplaceAll(error.what(), {{"\n", " "}}); }

class ParquetReader final : public RowReader {
 public:
  explicit ParquetReader(const InputFile& file) : RowReader(file.rule), file_(file) {}

  int64_t bytes_read() const override {
    if (ended_) return file_.bytes;
    if (reader_ == nullptr) return 0;
    const int64_t rows = std::max<int64_t>(1, reader_->metadata()->num_rows());
    return static_cast<int64_t>(static_cast<double>(file_.bytes) * static_cast<double>(row_) /
                                static_cast<double>(rows));
  }
  absl::StatusOr<FileDigest> Finish() override { return DigestFile(file_.path); }

 protected:
  // The library throws, and nothing of that gets past here.
  absl::StatusOr<std::optional<Row>> NextRow() override {
    if (ended_) return std::nullopt;
    try {
      if (reader_ == nullptr) {
        if (std::optional<Fault> fault = OpenColumn()) return End(*std::move(fault));
      }
      return ReadRow();
    } catch (const std::exception& error) {
      const std::string where = reader_ == nullptr ? file_.path : absl::StrCat(Here(), " or soon behind it");
      const char* what = reader_ == nullptr ? "no Parquet, or cut off: " : "damaged: ";
      return End({.kind = Fault::Kind::kFile, .message = absl::StrCat(where, ": ", what, OneLine(error))});
    }
  }

  std::string Here() const override { return absl::StrCat(file_.path, ": row ", row_ + 1); }

 private:
  Row End(Fault fault) {
    ended_ = true;
    return fault;
  }

  std::optional<Fault> OpenColumn() {
    std::unique_ptr<parquet::ParquetFileReader> reader =
        parquet::ParquetFileReader::OpenFile(file_.path, /*memory_map=*/false, Properties());
    const parquet::SchemaDescriptor& schema = *reader->metadata()->schema();
    std::vector<std::string> names;
    for (int i = 0; i < schema.num_columns(); ++i) names.push_back(schema.Column(i)->path()->ToDotString());
    column_ = schema.ColumnIndex(file_.rule.field);
    if (column_ < 0) {
      return Fault{.kind = Fault::Kind::kFile,
                   .message = absl::StrCat(file_.path, ": no column '", file_.rule.field, "'; its columns are ",
                                           absl::StrJoin(names, ", "))};
    }
    const parquet::ColumnDescriptor& column = *schema.Column(column_);
    const bool flat = column.max_repetition_level() == 0 && column.max_definition_level() <= 1;
    if (column.physical_type() != parquet::Type::BYTE_ARRAY || !flat) {
      return Fault{.kind = Fault::Kind::kFile,
                   .message = absl::StrCat(file_.path, ": column '", file_.rule.field, "' does not hold strings but ",
                                           flat ? parquet::TypeToString(column.physical_type()) : "lists or groups")};
    }
    nullable_ = column.max_definition_level() == 1;
    reader_ = std::move(reader);
    return std::nullopt;
  }

  std::optional<Row> ReadRow() {
    ++row_;
    if (next_level_ == levels_read_ && !FillBatch()) {
      ended_ = true;
      return std::nullopt;
    }
    const bool null = nullable_ && levels_[static_cast<size_t>(next_level_)] == 0;
    ++next_level_;
    if (null) return AtRow("no text (null)");
    const parquet::ByteArray& value = values_[static_cast<size_t>(next_value_++)];
    const std::string_view text(reinterpret_cast<const char*>(value.ptr), value.len);
    if (!simdjson::validate_utf8(text.data(), text.size())) {
      return AtRow(absl::StrCat("not UTF-8 at byte ", text::FindInvalidUtf8(text) + 1, " of the text"));
    }
    return text;
  }

  // False behind the last row.
  bool FillBatch() {
    while (true) {
      if (rows_ == nullptr || !rows_->HasNext()) {
        if (group_ != nullptr && group_rows_ != group_->metadata()->num_rows()) {
          throw parquet::ParquetException("row group ", next_group_, " says it has ", group_->metadata()->num_rows(),
                                          " rows, its pages have ", group_rows_);
        }
        if (next_group_ == reader_->metadata()->num_row_groups()) return false;
        group_ = reader_->RowGroup(next_group_++);
        group_rows_ = 0;
        rows_ = std::dynamic_pointer_cast<parquet::ByteArrayReader>(group_->Column(column_));
        continue;
      }
      int64_t values_read = 0;
      levels_read_ = rows_->ReadBatch(kBatchRows, levels_.data(), nullptr, values_.data(), &values_read);
      next_level_ = 0;
      next_value_ = 0;
      group_rows_ += levels_read_;
      if (levels_read_ > 0) return true;
    }
  }

  Fault AtRow(absl::string_view what) const {
    return {.kind = Fault::Kind::kDocument, .message = absl::StrCat(Here(), ": ", what)};
  }

  const InputFile file_;
  std::unique_ptr<parquet::ParquetFileReader> reader_;
  std::shared_ptr<parquet::RowGroupReader> group_;
  std::shared_ptr<parquet::ByteArrayReader> rows_;
  int column_ = 0;
  bool nullable_ = false;
  int next_group_ = 0;
  int64_t group_rows_ = 0;  // Read of this group.
  int64_t row_ = -1;
  // What ReadBatch gave: a level for each row, a value for each that is not null, pointing into the page.
  std::array<int16_t, kBatchRows> levels_ = {};
  std::array<parquet::ByteArray, kBatchRows> values_ = {};
  int64_t levels_read_ = 0;
  int64_t next_level_ = 0;
  int64_t next_value_ = 0;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquet(const InputFile& file) {
  // What cannot be opened at all is an error, and not a damaged file.
  RETURN_IF_ERROR(FileSource::Open(file.path).status());
  return std::make_unique<ParquetReader>(file);
}

}  // namespace bert::documents
