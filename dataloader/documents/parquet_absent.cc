// In place of parquet_reader.cc where the program is built without Parquet.
#include "absl/strings/str_cat.h"
#include "dataloader/documents/parquet_reader.h"

namespace bert::documents {

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquet(const InputFile& file) {
  return absl::UnimplementedError(
      absl::StrCat(file.path,
                   ": this program was built without Parquet; run scripts/setup.sh, configure with "
                   "-DBERT_PARQUET=ON and build again"));
}

}  // namespace bert::documents
