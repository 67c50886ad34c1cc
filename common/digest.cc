#include "common/digest.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/files.h"

namespace bert {
namespace {

constexpr size_t kReadBytes = 1 << 20;

std::string Format(XXH128_hash_t hash) { return absl::StrFormat("xxh128:%016x%016x", hash.high64, hash.low64); }

}  // namespace

std::string Digest(std::string_view bytes) { return Format(XXH3_128bits(bytes.data(), bytes.size())); }

uint64_t StableHash(std::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Digester::Digester() : state_(XXH3_createState()) {
  BERT_CHECK(state_ != nullptr);
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}

Digester::~Digester() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void Digester::Update(std::string_view bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}

std::string Digester::Finish() const { return Format(XXH3_128bits_digest(static_cast<XXH3_state_t*>(state_))); }

absl::StatusOr<FileDigest> DigestFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  const absl::Cleanup close_fd = [fd] { close(fd); };
  std::vector<char> buffer(kReadBytes);
  Digester digester;
  FileDigest result;
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(errno, absl::StrCat("cannot read ", path));
    if (got == 0) break;
    digester.Update(std::string_view(buffer.data(), got));
    result.bytes += got;
  }
  result.digest = digester.Finish();
  return result;
}

}  // namespace bert
