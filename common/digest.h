// Content digests: XXH3, 128 bits, written "xxh128:" and 32 hex digits. They find damage; they are not cryptographic.
#ifndef BERT_COMMON_DIGEST_H_
#define BERT_COMMON_DIGEST_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bert {

std::string Digest(std::string_view bytes);

// A 64-bit hash that is the same on every machine and in every version: for choices that must not change.
uint64_t StableHash(std::string_view bytes, uint64_t seed = 0);

// For content that comes in pieces. Not thread-safe.
class Digester {
 public:
  Digester();
  ~Digester();
  Digester(const Digester&) = delete;
  Digester& operator=(const Digester&) = delete;

  void Update(std::string_view bytes);
  // The digest of everything so far.
  std::string Finish() const;

 private:
  void* state_;  // XXH3_state_t; kept out of this header.
};

struct FileDigest {
  int64_t bytes = 0;
  std::string digest;
};

// NOT_FOUND, or INTERNAL with the path and the system's message.
absl::StatusOr<FileDigest> DigestFile(const std::string& path);

}  // namespace bert

#endif  // BERT_COMMON_DIGEST_H_
