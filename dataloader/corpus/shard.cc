#include "dataloader/corpus/shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/digest.h"
#include "common/status_macros.h"

namespace bert::corpus {
namespace {

constexpr char kMagic[8] = {'B', 'E', 'R', 'T', 'S', 'H', 'R', 'D'};
constexpr uint32_t kVersion = 1;
constexpr size_t kBufferBytes = 1 << 20;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t token_bytes;
  uint64_t documents;
  uint64_t tokens;
  uint64_t offsets_position;
  uint64_t reserved[3];
};
static_assert(sizeof(Header) == 64);
static_assert(std::endian::native == std::endian::little, "shards are mapped as they are");

absl::Status Damaged(const std::string& path, uint64_t byte, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": byte ", byte, ": ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShardWriter>> ShardWriter::Create(const std::string& path, int token_bytes) {
  BERT_CHECK(token_bytes == 2 || token_bytes == 4) << "token_bytes " << token_bytes;
  const std::string partial_path = path + ".partial";
  const int fd = open(partial_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot create ", partial_path));
  std::unique_ptr<ShardWriter> writer(new ShardWriter(path, token_bytes, fd));
  const Header empty = {};
  RETURN_IF_ERROR(writer->Write(&empty, sizeof(empty)));
  return writer;
}

ShardWriter::ShardWriter(std::string path, int token_bytes, int fd)
    : path_(std::move(path)), partial_path_(path_ + ".partial"), token_bytes_(token_bytes), fd_(fd) {
  buffer_.reserve(kBufferBytes);
}

ShardWriter::~ShardWriter() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(partial_path_.c_str());
}

absl::Status ShardWriter::Append(absl::Span<const uint32_t> token_ids) {
  RETURN_IF_ERROR(status_);
  if (token_ids.empty()) return status_ = absl::InvalidArgumentError(absl::StrCat(path_, ": an empty document"));
  if (token_bytes_ == 4) {
    RETURN_IF_ERROR(Write(token_ids.data(), token_ids.size() * sizeof(uint32_t)));
  } else {
    std::vector<uint16_t> narrow(token_ids.size());
    for (size_t i = 0; i < token_ids.size(); ++i) {
      if (token_ids[i] > std::numeric_limits<uint16_t>::max()) {
        return status_ = absl::InvalidArgumentError(
                   absl::StrCat(path_, ": token id ", token_ids[i], " does not fit 2 bytes"));
      }
      narrow[i] = static_cast<uint16_t>(token_ids[i]);
    }
    RETURN_IF_ERROR(Write(narrow.data(), narrow.size() * sizeof(uint16_t)));
  }
  offsets_.push_back(offsets_.back() + token_ids.size());
  return absl::OkStatus();
}

absl::StatusOr<ShardInfo> ShardWriter::Finish() {
  RETURN_IF_ERROR(status_);
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.token_bytes = static_cast<uint32_t>(token_bytes_);
  header.documents = static_cast<uint64_t>(documents());
  header.tokens = static_cast<uint64_t>(tokens());
  const uint64_t token_end = sizeof(Header) + header.tokens * token_bytes_;
  header.offsets_position = (token_end + 7) / 8 * 8;
  const char padding[8] = {};
  RETURN_IF_ERROR(Write(padding, header.offsets_position - token_end));
  RETURN_IF_ERROR(Write(offsets_.data(), offsets_.size() * sizeof(uint64_t)));
  RETURN_IF_ERROR(Flush());
  if (pwrite(fd_, &header, sizeof(header), 0) != static_cast<ssize_t>(sizeof(header)) || fsync(fd_) != 0) {
    return status_ = SystemError(errno, absl::StrCat("cannot finish ", partial_path_));
  }
  ASSIGN_OR_RETURN(FileDigest digest, DigestFile(partial_path_));
  RETURN_IF_ERROR(RenameDurably(partial_path_, path_));
  close(std::exchange(fd_, -1));
  status_ = absl::FailedPreconditionError(absl::StrCat(path_, " is finished"));
  return ShardInfo{.file = "",
                   .bytes = digest.bytes,
                   .digest = std::move(digest.digest),
                   .documents = documents(),
                   .tokens = tokens()};
}

absl::Status ShardWriter::Write(const void* data, size_t size) {
  buffer_.append(static_cast<const char*>(data), size);
  return buffer_.size() >= kBufferBytes ? Flush() : absl::OkStatus();
}

absl::Status ShardWriter::Flush() {
  size_t written = 0;
  while (written < buffer_.size()) {
    const ssize_t count = write(fd_, buffer_.data() + written, buffer_.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return status_ = SystemError(errno, absl::StrCat("cannot write ", partial_path_));
    written += static_cast<size_t>(count);
  }
  buffer_.clear();
  return absl::OkStatus();
}

absl::StatusOr<ShardReader> ShardReader::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const std::string_view bytes = file.bytes();
  Header header;
  if (bytes.size() < sizeof(header)) {
    return Damaged(path, bytes.size(), absl::StrCat("the file ends inside the header of ", sizeof(header), " bytes"));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Damaged(path, 0, "not a shard (no BERTSHRD), or one that was never finished");
  }
  if (header.version != kVersion) {
    return Damaged(path, 8, absl::StrCat("shard version ", header.version, "; this program reads ", kVersion));
  }
  if (header.token_bytes != 2 && header.token_bytes != 4) {
    return Damaged(path, 12, absl::StrCat(header.token_bytes, " bytes a token; 2 or 4 exist"));
  }
  // Bounding both counts by the file's size first keeps the sums below from wrapping.
  if (header.documents > bytes.size() / sizeof(uint64_t)) return Damaged(path, 16, "more documents than bytes");
  if (header.tokens > bytes.size() / header.token_bytes) return Damaged(path, 24, "more tokens than bytes");
  const uint64_t token_end = sizeof(Header) + header.tokens * header.token_bytes;
  if (header.offsets_position != (token_end + 7) / 8 * 8) {
    return Damaged(path, 32,
                   absl::StrCat("offsets said to be at ", header.offsets_position, ", tokens end at ", token_end));
  }
  const uint64_t expected_size = header.offsets_position + (header.documents + 1) * sizeof(uint64_t);
  if (bytes.size() != expected_size) {
    return Damaged(path, bytes.size(),
                   absl::StrCat("the file has ", bytes.size(), " bytes, its header says ", expected_size));
  }
  const auto* offsets = reinterpret_cast<const uint64_t*>(bytes.data() + header.offsets_position);
  for (uint64_t d = 0; d <= header.documents; ++d) {
    const bool wrong = d == 0 ? offsets[d] != 0 : offsets[d] <= offsets[d - 1];
    if (wrong || offsets[d] > header.tokens || (d == header.documents && offsets[d] != header.tokens)) {
      return Damaged(path, header.offsets_position + d * sizeof(uint64_t),
                     absl::StrCat("offset of document ", d, " is ", offsets[d], ", of ", header.tokens, " tokens"));
    }
  }
  ShardReader reader(path, std::move(file));
  reader.token_bytes_ = static_cast<int>(header.token_bytes);
  reader.token_data_ = bytes.data() + sizeof(Header);
  reader.offsets_ = absl::MakeConstSpan(offsets, header.documents + 1);
  return reader;
}

void ShardReader::CopyTokens(int64_t begin, int64_t count, int32_t* out) const {
  if (token_bytes_ == 2) {
    const auto* tokens = reinterpret_cast<const uint16_t*>(token_data_) + begin;
    for (int64_t i = 0; i < count; ++i) out[i] = tokens[i];
  } else {
    std::memcpy(out, token_data_ + begin * sizeof(int32_t), count * sizeof(int32_t));
  }
}

void ShardReader::Prefetch(int64_t begin, int64_t count) const {
  constexpr int64_t kCacheLineBytes = 64;
  const int64_t end = std::min(begin + count, tokens()) * token_bytes_;
  for (int64_t byte = begin * token_bytes_; byte < end; byte += kCacheLineBytes) __builtin_prefetch(token_data_ + byte);
}

template <typename Predicate>
int64_t ShardReader::FindIf(Predicate predicate) const {
  const auto find = [&](const auto* ids) -> int64_t {
    // Whole blocks first: without an early exit the compiler vectorizes the test.
    constexpr int64_t kBlock = 4096;
    for (int64_t begin = 0; begin < tokens(); begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, tokens());
      bool found = false;
      for (int64_t i = begin; i < end; ++i) found |= predicate(ids[i]);
      for (int64_t i = begin; found && i < end; ++i) {
        if (predicate(ids[i])) return i;
      }
    }
    return -1;
  };
  return token_bytes_ == 2 ? find(reinterpret_cast<const uint16_t*>(token_data_))
                           : find(reinterpret_cast<const uint32_t*>(token_data_));
}

int64_t ShardReader::FindTokenAtLeast(uint32_t limit) const {
  return FindIf([limit](uint32_t id) { return id >= limit; });
}

int64_t ShardReader::FindToken(uint32_t id) const {
  return FindIf([id](uint32_t other) { return other == id; });
}

}  // namespace bert::corpus
