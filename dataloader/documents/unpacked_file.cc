#include "dataloader/documents/unpacked_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "dataloader/documents/decompression.h"
#include "dataloader/documents/paragraphs.h"

namespace bert::documents {

absl::StatusOr<std::unique_ptr<UnpackedFile>> UnpackedFile::Open(const InputFile& file) {
  ASSIGN_OR_RETURN(std::unique_ptr<FileSource> packed, FileSource::Open(file.path));
  return std::unique_ptr<UnpackedFile>(new UnpackedFile(file, std::move(packed)));
}

UnpackedFile::UnpackedFile(const InputFile& file, std::unique_ptr<FileSource> packed)
    : path_(file.path),
      packed_(std::move(packed)),
      unpacked_(file.compression == Compression::kNone ? nullptr : Decompress(file.compression, packed_.get())),
      lines_(unpacked_ == nullptr ? packed_.get() : unpacked_.get()) {}

absl::StatusOr<bool> UnpackedFile::NextLine(std::string_view* line) {
  const absl::StatusOr<bool> more = lines_.Next(line);
  if (absl::IsDataLoss(more.status())) {
    return Annotate(more.status(), absl::StrCat(path_, ":", lines_.line_number() + 1));
  }
  if (absl::IsInvalidArgument(more.status())) return Annotate(more.status(), path_);
  RETURN_IF_ERROR(more.status());
  if (*more && lines_.line_number() == 1 && line->starts_with(kByteOrderMark)) {
    line->remove_prefix(kByteOrderMark.size());
  }
  return *more;
}

std::string UnpackedFile::Here() const { return absl::StrCat(path_, ":", lines_.line_number()); }

}  // namespace bert::documents
