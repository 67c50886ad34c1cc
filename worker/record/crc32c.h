// The checksum of TFRecord files.
#ifndef BERT_WORKER_RECORD_CRC32C_H_
#define BERT_WORKER_RECORD_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace bert::record {

// CRC-32C (Castagnoli) as in RFC 3720, section B.4.
uint32_t Crc32c(std::string_view bytes);

// Rotated and shifted, so that the checksum of bytes that hold checksums is still a good one.
uint32_t MaskedCrc32c(std::string_view bytes);

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_CRC32C_H_
