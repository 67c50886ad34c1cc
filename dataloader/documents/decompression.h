// Unpacks gzip, Zstandard and xz as streams.
#ifndef BERT_DATALOADER_DOCUMENTS_DECOMPRESSION_H_
#define BERT_DATALOADER_DOCUMENTS_DECOMPRESSION_H_

#include <memory>

#include "absl/strings/string_view.h"
#include "dataloader/documents/byte_source.h"

namespace bert::documents {

enum class Compression { kNone, kGzip, kZstd, kXz };

// "gzip", "zstd", "xz", and "" for none.
absl::string_view CompressionName(Compression compression);

// What was packed into `packed`, which must outlive the result. Several streams one after the other are one, as with
// the formats' own programs. Memory: what the format's window asks for, at most 128 MiB (Zstandard) or 512 MiB (xz).
// Read() gives DATA_LOSS where the stream ends early or is damaged. `compression` must not be kNone.
std::unique_ptr<ByteSource> Decompress(Compression compression, ByteSource* packed);

}  // namespace bert::documents

#endif  // BERT_DATALOADER_DOCUMENTS_DECOMPRESSION_H_
