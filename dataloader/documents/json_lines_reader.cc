#include "dataloader/documents/json_lines_reader.h"

#include <simdjson.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/documents/paragraphs.h"
#include "dataloader/documents/row_reader.h"
#include "dataloader/documents/unpacked_file.h"
#include "dataloader/text/unicode.h"

namespace bert::documents {
namespace {

static_assert(LineReader::kPaddingBytes >= simdjson::SIMDJSON_PADDING, "lines are parsed where they lie");

class JsonLinesReader final : public RowReader {
 public:
  JsonLinesReader(std::unique_ptr<UnpackedFile> file, const DocumentRule& rule)
      : RowReader(rule), file_(std::move(file)), field_(rule.field) {}

  int64_t bytes_read() const override { return file_->bytes_read(); }
  absl::StatusOr<FileDigest> Finish() override { return file_->Finish(); }

 protected:
  absl::StatusOr<std::optional<Row>> NextRow() override {
    while (!ended_) {
      std::string_view line;
      const absl::StatusOr<bool> more = file_->NextLine(&line);
      if (absl::IsDataLoss(more.status())) {
        ended_ = true;
        return Fault{.kind = Fault::Kind::kFile, .message = std::string(more.status().message())};
      }
      RETURN_IF_ERROR(more.status());
      if (!*more) break;
      if (StripTrailingWhitespace(line).empty()) continue;
      return Parse(line);
    }
    ended_ = true;
    return std::nullopt;
  }

  std::string Here() const override { return file_->Here(); }

 private:
  Row Parse(std::string_view line) {
    simdjson::dom::element json;
    if (const simdjson::error_code error =
            parser_.parse(line.data(), line.size(), /*realloc_if_needed=*/false).get(json)) {
      if (error == simdjson::UTF8_ERROR) {
        return At(absl::StrCat("not UTF-8 at byte ", text::FindInvalidUtf8(line) + 1, " of the line"));
      }
      return At(absl::StrCat("not JSON: ", simdjson::error_message(error)));
    }
    simdjson::dom::object object;
    if (json.get(object) != simdjson::SUCCESS) return At("not a JSON object");
    simdjson::dom::element field;
    if (object.at_key(field_).get(field) != simdjson::SUCCESS) return At(absl::StrCat("no field '", field_, "'"));
    std::string_view text;
    if (field.get(text) != simdjson::SUCCESS) return At(absl::StrCat("field '", field_, "' is not a string"));
    return text;
  }

  Fault At(absl::string_view what) const {
    return {.kind = Fault::Kind::kDocument, .message = absl::StrCat(file_->Here(), ": ", what)};
  }

  const std::unique_ptr<UnpackedFile> file_;
  const std::string field_;
  simdjson::dom::parser parser_;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenJsonLines(const InputFile& file) {
  ASSIGN_OR_RETURN(std::unique_ptr<UnpackedFile> unpacked, UnpackedFile::Open(file));
  return std::make_unique<JsonLinesReader>(std::move(unpacked), file.rule);
}

}  // namespace bert::documents
