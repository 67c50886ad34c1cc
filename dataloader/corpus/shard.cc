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
#include "common/files.h"
#include "common/status_macros.h"

namespace bert::corpus {
namespace {

constexpr char kMagic[8] = {'B', 'E', 'R', 'T', 'S', 'H', 'R', 'D'};
constexpr uint32_t kVersion = 1;
constexpr int64_t kCopyBytes = 1 << 20;

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

std::string PartialPath(const std::string& path) { return path + ".partial"; }
std::string OffsetPath(const std::string& path) { return path + ".offsets"; }

absl::Status Damaged(const std::string& path, uint64_t byte, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": byte ", byte, ": ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShardWriter>> ShardWriter::Create(const std::string& path, int token_bytes) {
  std::unique_ptr<ShardWriter> writer(new ShardWriter(path, token_bytes));
  ASSIGN_OR_RETURN(writer->token_file_, AppendFile::Create(PartialPath(path)));
  ASSIGN_OR_RETURN(writer->offset_file_, AppendFile::Create(OffsetPath(path)));
  const Header empty = {};
  RETURN_IF_ERROR(writer->token_file_->Append(&empty, sizeof(empty)));
  return writer;
}

absl::StatusOr<std::unique_ptr<ShardWriter>> ShardWriter::Resume(const std::string& path, int token_bytes,
                                                                 int64_t documents, int64_t tokens) {
  if (access(PartialPath(path).c_str(), F_OK) != 0) RETURN_IF_ERROR(Unfinish(path, token_bytes, documents, tokens));
  std::unique_ptr<ShardWriter> writer(new ShardWriter(path, token_bytes));
  writer->kept_ = true;
  const int64_t token_end = static_cast<int64_t>(sizeof(Header)) + tokens * token_bytes;
  ASSIGN_OR_RETURN(writer->token_file_, AppendFile::Reopen(PartialPath(path), token_end));
  const int64_t offset_end = documents * static_cast<int64_t>(sizeof(uint64_t));
  ASSIGN_OR_RETURN(writer->offset_file_, AppendFile::Reopen(OffsetPath(path), offset_end));
  uint64_t last = 0;
  if (documents > 0) {
    RETURN_IF_ERROR(writer->offset_file_->ReadAt(offset_end - static_cast<int64_t>(sizeof(last)), &last, sizeof(last)));
  }
  if (last != static_cast<uint64_t>(tokens)) {
    return absl::DataLossError(absl::StrCat(OffsetPath(path), ": document ", documents, " ends at token ", last,
                                            ", and once ended at ", tokens));
  }
  writer->documents_ = documents;
  writer->tokens_ = tokens;
  return writer;
}

absl::Status ShardWriter::Unfinish(const std::string& path, int token_bytes, int64_t documents, int64_t tokens) {
  ASSIGN_OR_RETURN(const ShardReader shard, ShardReader::Open(path));
  const bool same = shard.token_bytes() == token_bytes && shard.documents() >= documents &&
                    shard.offsets()[static_cast<size_t>(documents)] == static_cast<uint64_t>(tokens);
  if (!same) return absl::DataLossError(absl::StrCat(path, ": not the shard that was being written"));
  ASSIGN_OR_RETURN(const std::unique_ptr<AppendFile> offsets, AppendFile::Create(OffsetPath(path)));
  RETURN_IF_ERROR(offsets->Append(&shard.offsets()[1], static_cast<size_t>(documents) * sizeof(uint64_t)));
  RETURN_IF_ERROR(offsets->Sync());
  return RenameDurably(path, PartialPath(path));
}

ShardWriter::ShardWriter(std::string path, int token_bytes) : path_(std::move(path)), token_bytes_(token_bytes) {
  BERT_CHECK(token_bytes == 2 || token_bytes == 4) << "token_bytes " << token_bytes;
}

ShardWriter::~ShardWriter() {
  if (kept_) return;
  unlink(PartialPath(path_).c_str());
  unlink(OffsetPath(path_).c_str());
}

absl::Status ShardWriter::Append(absl::Span<const uint32_t> token_ids) {
  RETURN_IF_ERROR(status_);
  if (token_ids.empty()) return status_ = absl::InvalidArgumentError(absl::StrCat(path_, ": an empty document"));
  if (token_bytes_ == 4) {
    status_ = token_file_->Append(token_ids.data(), token_ids.size() * sizeof(uint32_t));
  } else {
    narrow_.resize(token_ids.size());
    for (size_t i = 0; i < token_ids.size(); ++i) {
      if (token_ids[i] > std::numeric_limits<uint16_t>::max()) {
        return status_ = absl::InvalidArgumentError(
                   absl::StrCat(path_, ": token id ", token_ids[i], " does not fit 2 bytes"));
      }
      narrow_[i] = static_cast<uint16_t>(token_ids[i]);
    }
    status_ = token_file_->Append(narrow_.data(), narrow_.size() * sizeof(uint16_t));
  }
  RETURN_IF_ERROR(status_);
  ++documents_;
  tokens_ += static_cast<int64_t>(token_ids.size());
  const auto end = static_cast<uint64_t>(tokens_);
  return status_ = offset_file_->Append(&end, sizeof(end));
}

absl::Status ShardWriter::Sync() {
  RETURN_IF_ERROR(status_);
  status_ = token_file_->Sync();
  RETURN_IF_ERROR(status_);
  status_ = offset_file_->Sync();
  RETURN_IF_ERROR(status_);
  kept_ = true;
  return absl::OkStatus();
}

absl::Status ShardWriter::AppendOffsets() {
  RETURN_IF_ERROR(offset_file_->Flush());
  const uint64_t first = 0;
  RETURN_IF_ERROR(token_file_->Append(&first, sizeof(first)));
  std::vector<char> piece(kCopyBytes);
  for (int64_t position = 0; position < offset_file_->bytes();) {
    const auto size = static_cast<size_t>(std::min<int64_t>(kCopyBytes, offset_file_->bytes() - position));
    RETURN_IF_ERROR(offset_file_->ReadAt(position, piece.data(), size));
    RETURN_IF_ERROR(token_file_->Append(piece.data(), size));
    position += static_cast<int64_t>(size);
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardInfo> ShardWriter::Finish() {
  RETURN_IF_ERROR(status_);
  status_ = absl::FailedPreconditionError(absl::StrCat(path_, " is finished, or could not be"));
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.token_bytes = static_cast<uint32_t>(token_bytes_);
  header.documents = static_cast<uint64_t>(documents_);
  header.tokens = static_cast<uint64_t>(tokens_);
  const auto token_end = static_cast<uint64_t>(token_file_->bytes());
  header.offsets_position = (token_end + 7) / 8 * 8;
  const char padding[8] = {};
  RETURN_IF_ERROR(token_file_->Append(padding, header.offsets_position - token_end));
  RETURN_IF_ERROR(AppendOffsets());
  RETURN_IF_ERROR(token_file_->Overwrite(0, &header, sizeof(header)));
  RETURN_IF_ERROR(token_file_->Sync());
  ASSIGN_OR_RETURN(FileDigest digest, DigestFile(token_file_->path()));
  RETURN_IF_ERROR(RenameDurably(token_file_->path(), path_));
  kept_ = true;
  unlink(offset_file_->path().c_str());
  return ShardInfo{.file = "",
                   .bytes = digest.bytes,
                   .digest = std::move(digest.digest),
                   .documents = documents_,
                   .tokens = tokens_};
}

absl::StatusOr<ShardReader> ShardReader::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path, PageLoss::kReadsZeros));
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
