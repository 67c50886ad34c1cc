#include "dataloader/documents/text_reader.h"

#include <simdjson.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/documents/paragraphs.h"
#include "dataloader/documents/unpacked_file.h"
#include "dataloader/text/unicode.h"

namespace bert::documents {
namespace {

class TextReader final : public DocumentReader {
 public:
  TextReader(std::unique_ptr<UnpackedFile> file, const DocumentRule& rule) : file_(std::move(file)), rule_(rule) {}

  absl::StatusOr<std::optional<Item>> Next() override {
    std::string document;
    std::optional<Fault> fault;
    int64_t lines = 0;
    while (!ended_ && !(rule_.unit == DocumentRule::Unit::kRows && lines == rule_.rows)) {
      std::string_view line;
      const absl::StatusOr<bool> more = file_->NextLine(&line);
      if (absl::IsDataLoss(more.status())) {
        ended_ = true;
        // What was read of this document may be half of it.
        return Fault{.kind = Fault::Kind::kFile, .message = std::string(more.status().message())};
      }
      RETURN_IF_ERROR(more.status());
      if (!*more) {
        ended_ = true;
        break;
      }
      const std::string_view paragraph = StripTrailingWhitespace(line);
      if (paragraph.empty()) {
        if (lines > 0 && rule_.unit != DocumentRule::Unit::kFile) break;
        continue;
      }
      ++lines;
      if (!fault && !simdjson::validate_utf8(paragraph.data(), paragraph.size())) {
        fault = Fault{.kind = Fault::Kind::kDocument,
                      .message = absl::StrCat(file_->Here(), ": not UTF-8 at byte ",
                                              text::FindInvalidUtf8(paragraph) + 1, " of the line")};
        document = {};
      }
      if (fault) continue;
      if (static_cast<int64_t>(document.size() + paragraph.size()) > kDocumentBytesMax) {
        return DocumentTooLong(file_->Here());
      }
      if (!document.empty()) document.push_back('\n');
      document.append(paragraph);
    }
    if (lines == 0) return std::nullopt;
    if (fault) return *std::move(fault);
    return document;
  }

  int64_t bytes_read() const override { return file_->bytes_read(); }
  absl::StatusOr<FileDigest> Finish() override { return file_->Finish(); }

 private:
  const std::unique_ptr<UnpackedFile> file_;
  const DocumentRule rule_;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenText(const InputFile& file) {
  ASSIGN_OR_RETURN(std::unique_ptr<UnpackedFile> unpacked, UnpackedFile::Open(file));
  return std::make_unique<TextReader>(std::move(unpacked), file.rule);
}

}  // namespace bert::documents
