#include "dataloader/sampling/row_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/digest.h"
#include "common/status_macros.h"

namespace bert::sampling {
namespace {

static_assert(std::endian::native == std::endian::little, "images are mapped as they are");

constexpr char kMagic[8] = {'B', 'E', 'R', 'T', 'R', 'O', 'W', 'S'};
// To be raised with every change of the layout or of a rule in document_cuts.h.
constexpr uint32_t kVersion = 1;
constexpr int64_t kSpecialTokensPerPiece = 2;
constexpr int64_t kPairSpecialTokens = 3;

// Calls visit(document, length) for the split's documents in order.
template <typename Visit>
void ForEachDocument(const corpus::SplitView& split, const Visit& visit) {
  int64_t document = 0;
  for (const corpus::ShardReader& shard : split.shards()) {
    for (int64_t d = 0; d < shard.documents(); ++d, ++document) {
      visit(document, static_cast<int64_t>(shard.offsets()[d + 1] - shard.offsets()[d]));
    }
  }
}

// Calls visit(first token, its document) for each packed row in order.
template <typename Visit>
void ForEachPackedRow(const corpus::SplitView& split, const PackingRule& rule, int32_t max_seq_len,
                      const Visit& visit) {
  int64_t free = 0;
  int64_t begin = 0;
  ForEachDocument(split, [&](int64_t document, int64_t rest) {
    while (rest > 0) {
      int64_t take = rule.TokensToTake(rest, free);
      if (take == 0) {
        visit(begin, document);
        free = max_seq_len;
        take = rule.TokensToTake(rest, free);
        BERT_CHECK(take > 0) << "rest " << rest << ", max_seq_len " << max_seq_len;
      }
      free -= take + kSpecialTokensPerPiece;
      begin += take;
      rest -= take;
    }
  });
}

absl::Status LostShard(const corpus::ShardReader& shard) {
  return absl::DataLossError(absl::StrCat(shard.path(), ": damaged: a part of it is gone, or cannot be read"));
}

// Lengths of a pair's parts, ordered as rows are: longer ones first.
struct PairLengths {
  uint32_t first = 0;
  uint32_t second = 0;

  friend bool operator==(const PairLengths&, const PairLengths&) = default;
  friend bool operator<(const PairLengths& a, const PairLengths& b) {
    return std::pair(a.first + a.second, a.first) > std::pair(b.first + b.second, b.first);
  }
  template <typename H>
  friend H AbslHashValue(H hash, const PairLengths& lengths) {
    return H::combine(std::move(hash), lengths.first, lengths.second);
  }
};

// Calls visit(first token, its document, lengths) for each chunk of the split in order.
template <typename Visit>
void ForEachPair(const corpus::Dataset& dataset, const corpus::SplitView& split, int32_t max_seq_len,
                 const Visit& visit) {
  const PairRule rule(max_seq_len);
  const corpus::VocabularyFacts& vocabulary = dataset.vocabulary();
  // An unchecked dataset may hold ids outside its vocabulary.
  const auto is_set = [](const std::vector<uint8_t>& flags, int32_t id) {
    return static_cast<size_t>(id) < flags.size() && flags[static_cast<size_t>(id)] != 0;
  };
  int64_t begin = 0;
  ForEachDocument(split, [&](int64_t document, int64_t rest) {
    if (rest < kPairTokensMin) {
      begin += rest;
      return;
    }
    while (rest > 0) {
      const int64_t length = rule.ChunkLength(rest);
      const int64_t first = PairRule::FirstLength(length, [&](int64_t i) {
        int32_t ids[2] = {};
        split.CopyTokens(begin + i - 1, 2, ids);
        return is_set(vocabulary.is_continuation, ids[1]) && !is_set(vocabulary.ends_word, ids[0]);
      });
      visit(begin, document, PairLengths{static_cast<uint32_t>(first), static_cast<uint32_t>(length - first)});
      begin += length;
      rest -= length;
    }
  });
}

}  // namespace

struct RowIndex::Header {
  char magic[8];
  uint32_t version;
  uint32_t format;
  uint32_t split;
  uint32_t max_seq_len;
  uint64_t rows;
  uint64_t groups;
  char dataset_digest[48];
  uint64_t zero;

  static constexpr uint64_t kRowsMax = uint64_t{1} << 56;

  size_t documents_position() const { return sizeof(Header) + rows * sizeof(uint64_t); }
  size_t groups_position() const { return documents_position() + (rows + rows % 2) * sizeof(uint32_t); }
  size_t hash_position() const { return groups_position() + groups * sizeof(StoredGroup); }
  size_t image_size() const { return hash_position() + sizeof(uint64_t); }
};

RowIndex::RowIndex(std::shared_ptr<const corpus::Dataset> dataset, corpus::SplitKind split, int32_t max_seq_len,
                   RowFormat format)
    : dataset_(std::move(dataset)),
      split_kind_(split),
      split_(dataset_->split(split)),
      max_seq_len_(max_seq_len),
      format_(format),
      packing_(max_seq_len) {}

absl::StatusOr<std::shared_ptr<RowIndex>> RowIndex::Create(std::shared_ptr<const corpus::Dataset> dataset,
                                                           corpus::SplitKind split, int32_t max_seq_len,
                                                           RowFormat format) {
  const int32_t least = format == RowFormat::kSentencePair ? kPairSeqLenMin : kSeqLenMin;
  if (max_seq_len < least || max_seq_len > kSeqLenMax) {
    return absl::InvalidArgumentError(absl::StrCat("max_seq_len ", max_seq_len, " is not in [", least, ", ", kSeqLenMax,
                                                   "], as rows of format ", RowFormatName(format), " need"));
  }
  if (dataset->split(split).documents() > std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(dataset->split(split).documents(), " documents; at most 2^32 can be indexed"));
  }
  std::shared_ptr<RowIndex> index(new RowIndex(std::move(dataset), split, max_seq_len, format));
  if (format == RowFormat::kTruncatePad) index->rows_ = index->split_.documents();
  return index;
}

absl::StatusOr<std::shared_ptr<const RowIndex>> RowIndex::Build(std::shared_ptr<const corpus::Dataset> dataset,
                                                                corpus::SplitKind split, int32_t max_seq_len,
                                                                RowFormat format) {
  ASSIGN_OR_RETURN(const std::shared_ptr<RowIndex> index, Create(std::move(dataset), split, max_seq_len, format));
  if (format == RowFormat::kPacked) index->BuildPacked();
  if (format == RowFormat::kSentencePair) index->BuildPairs();
  return index;
}

absl::StatusOr<std::shared_ptr<const RowIndex>> RowIndex::Load(std::shared_ptr<const corpus::Dataset> dataset,
                                                               corpus::SplitKind split, int32_t max_seq_len,
                                                               RowFormat format, const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<RowIndex> index, Create(std::move(dataset), split, max_seq_len, format));
  ASSIGN_OR_RETURN(index->mapped_, MappedFile::Open(path, PageLoss::kReadsZeros));
  index->mapped_path_ = path;
  RETURN_IF_ERROR(index->CheckImage(path));
  return index;
}

std::string RowIndex::FileName(const corpus::Dataset& dataset, corpus::SplitKind split, int32_t max_seq_len,
                               RowFormat format) {
  const absl::string_view digest = dataset.digest();
  // Without the "xxh128:", which is no good part of a file's name.
  return absl::StrCat(digest.substr(digest.find(':') + 1), "-", corpus::SplitName(split), "-", RowFormatName(format),
                      "-", max_seq_len, "-v", kVersion, ".rows");
}

RowIndex::Header RowIndex::HeaderOf(int64_t rows, int64_t groups) const {
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.format = static_cast<uint32_t>(format_);
  header.split = split_kind_ == corpus::SplitKind::kTrain ? 0 : 1;
  header.max_seq_len = static_cast<uint32_t>(max_seq_len_);
  header.rows = static_cast<uint64_t>(rows);
  header.groups = static_cast<uint64_t>(groups);
  const std::string& digest = dataset_->digest();
  std::memcpy(header.dataset_digest, digest.data(), std::min(digest.size(), sizeof(header.dataset_digest)));
  return header;
}

void RowIndex::BuildPacked() {
  int64_t rows = 0;
  ForEachPackedRow(split_, packing_, max_seq_len_, [&](int64_t, int64_t) { ++rows; });
  const Header header = HeaderOf(rows, 0);
  Allocate(header);
  auto* start = reinterpret_cast<uint64_t*>(built_.data() + sizeof(Header));
  auto* document = reinterpret_cast<uint32_t*>(built_.data() + header.documents_position());
  ForEachPackedRow(split_, packing_, max_seq_len_, [&](int64_t row_begin, int64_t row_document) {
    *start++ = static_cast<uint64_t>(row_begin);
    *document++ = static_cast<uint32_t>(row_document);
  });
  Seal();
}

void RowIndex::BuildPairs() {
  absl::flat_hash_map<PairLengths, uint64_t> counts;
  int64_t rows = 0;
  ForEachPair(*dataset_, split_, max_seq_len_, [&](int64_t, int64_t, PairLengths lengths) {
    ++counts[lengths];
    ++rows;
  });
  std::vector<std::pair<PairLengths, uint64_t>> groups(counts.begin(), counts.end());
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const Header header = HeaderOf(rows, static_cast<int64_t>(groups.size()));
  Allocate(header);
  auto* stored = reinterpret_cast<StoredGroup*>(built_.data() + header.groups_position());
  uint64_t first_row = 0;
  for (const auto& [lengths, count] : groups) {
    *stored++ = {.first_row = first_row, .first_length = lengths.first, .second_length = lengths.second};
    counts[lengths] = first_row;  // From here on the next row to fill.
    first_row += count;
  }
  auto* starts = reinterpret_cast<uint64_t*>(built_.data() + sizeof(Header));
  auto* documents = reinterpret_cast<uint32_t*>(built_.data() + header.documents_position());
  ForEachPair(*dataset_, split_, max_seq_len_, [&](int64_t begin, int64_t document, PairLengths lengths) {
    const uint64_t row = counts[lengths]++;
    starts[row] = static_cast<uint64_t>(begin);
    documents[row] = static_cast<uint32_t>(document);
  });
  Seal();
}

void RowIndex::Allocate(const Header& header) {
  built_.assign(header.image_size(), '\0');
  std::memcpy(built_.data(), &header, sizeof(header));
  SetSpans(built_, header);
}

void RowIndex::Seal() {
  const size_t position = built_.size() - sizeof(uint64_t);
  const uint64_t hash = StableHash(std::string_view(built_).substr(0, position));
  std::memcpy(built_.data() + position, &hash, sizeof(hash));
}

void RowIndex::SetSpans(std::string_view image, const Header& header) {
  rows_ = static_cast<int64_t>(header.rows);
  starts_ = {reinterpret_cast<const uint64_t*>(image.data() + sizeof(Header)), header.rows};
  documents_ = {reinterpret_cast<const uint32_t*>(image.data() + header.documents_position()), header.rows};
  groups_ = {reinterpret_cast<const StoredGroup*>(image.data() + header.groups_position()), header.groups};
}

absl::Status RowIndex::CheckImage(const std::string& path) {
  const std::string_view image = mapped_->bytes();
  const auto damaged = [&](absl::string_view why) {
    return absl::DataLossError(absl::StrCat(path, ": damaged row index: ", why));
  };
  Header header = {};
  if (image.size() < sizeof(header)) return damaged("it has no header");
  std::memcpy(&header, image.data(), sizeof(header));
  if (header.rows > Header::kRowsMax || header.groups > Header::kRowsMax || header.image_size() != image.size()) {
    return damaged(absl::StrCat(image.size(), " bytes are not as many as the header says"));
  }
  const Header expected = HeaderOf(static_cast<int64_t>(header.rows), static_cast<int64_t>(header.groups));
  if (std::memcmp(&header, &expected, sizeof(header)) != 0) return damaged("its header is that of another index");
  uint64_t hash = 0;
  std::memcpy(&hash, image.data() + header.hash_position(), sizeof(hash));
  if (hash != StableHash(image.substr(0, header.hash_position()))) return damaged("its checksum is wrong");
  SetSpans(image, header);
  return absl::OkStatus();
}

int64_t RowIndex::DocumentOf(int64_t row) const {
  BERT_CHECK(row >= 0 && row < rows_) << "row " << row << " of " << rows_;
  return format_ == RowFormat::kTruncatePad ? row : documents_[static_cast<size_t>(row)];
}

PairGroup RowIndex::Group(int64_t group) const {
  const auto at = static_cast<size_t>(group);
  const StoredGroup& stored = groups_[at];
  const uint64_t end = at + 1 < groups_.size() ? groups_[at + 1].first_row : static_cast<uint64_t>(rows_);
  return {.first_row = static_cast<int64_t>(stored.first_row),
          .rows = static_cast<int64_t>(end - stored.first_row),
          .first_length = static_cast<int32_t>(stored.first_length),
          .second_length = static_cast<int32_t>(stored.second_length)};
}

int64_t RowIndex::GroupOf(int64_t row) const {
  const auto after =
      std::upper_bound(groups_.begin(), groups_.end(), static_cast<uint64_t>(row),
                       [](uint64_t wanted, const StoredGroup& group) { return wanted < group.first_row; });
  return after - groups_.begin() - 1;
}

void RowIndex::Prefetch(int64_t row) const {
  const int64_t begin =
      format_ == RowFormat::kTruncatePad ? split_.DocumentBegin(row) : static_cast<int64_t>(starts_[row]);
  split_.Prefetch(begin, max_seq_len_);
}

absl::Status RowIndex::GetPieces(int64_t row, std::vector<Piece>* pieces) const {
  BERT_CHECK(row >= 0 && row < rows_) << "row " << row << " of " << rows_;
  pieces->clear();
  ReadPieces(row, pieces);
  if (Possible(*pieces)) return absl::OkStatus();
  if (lost()) return CheckNotLost({});
  // Packed rows reach into the next shard, so the first piece does not tell which it is.
  for (const corpus::ShardReader& shard : split_.shards()) {
    if (shard.lost()) return LostShard(shard);
  }
  return absl::DataLossError(absl::StrCat(dataset_->directory(), ": damaged: the documents of row ", row,
                                          " lie where none can be; `bert-data verify` names the file"));
}

absl::Status RowIndex::CheckNotLost(const std::vector<Piece>& pieces) const {
  if (!MappedFile::AnyLost()) return absl::OkStatus();
  if (lost()) {
    return absl::UnavailableError(absl::StrCat(mapped_path_, ": a part of it is gone; it is made anew"));
  }
  for (const Piece& piece : pieces) {
    const corpus::ShardReader& shard = split_.ShardAt(piece.begin);
    if (shard.lost()) return LostShard(shard);
  }
  return absl::OkStatus();
}

bool RowIndex::Possible(const std::vector<Piece>& pieces) const {
  const size_t parts = format_ == RowFormat::kSentencePair ? 2 : 1;
  int64_t tokens = format_ == RowFormat::kSentencePair ? kPairSpecialTokens : 0;
  for (const Piece& piece : pieces) {
    if (!split_.InOneShard(piece.begin, piece.length)) return false;
    tokens += piece.length + (format_ == RowFormat::kSentencePair ? 0 : kSpecialTokensPerPiece);
  }
  return pieces.size() >= parts && tokens <= max_seq_len_;
}

void RowIndex::ReadPieces(int64_t row, std::vector<Piece>* pieces) const {
  if (format_ == RowFormat::kTruncatePad) {
    const int64_t begin = split_.DocumentBegin(row);
    const int64_t length = split_.DocumentBegin(row + 1) - begin;
    pieces->push_back({begin, static_cast<int32_t>(std::min(length, max_seq_len_ - kSpecialTokensPerPiece))});
    return;
  }
  int64_t begin = static_cast<int64_t>(starts_[row]);
  if (format_ == RowFormat::kSentencePair) {
    const PairGroup group = Group(GroupOf(row));
    pieces->push_back({begin, group.first_length});
    pieces->push_back({begin + group.first_length, group.second_length});
    return;
  }
  const int64_t row_end = row + 1 < rows_ ? static_cast<int64_t>(starts_[row + 1]) : split_.tokens();
  int64_t document = documents_[row];
  int64_t free = max_seq_len_;
  while (begin < row_end && document < split_.documents()) {
    const int64_t rest = split_.DocumentBegin(document + 1) - begin;
    const int64_t take = rest > 0 ? packing_.TokensToTake(rest, free) : 0;
    if (take <= 0) return pieces->clear();
    pieces->push_back({begin, static_cast<int32_t>(take)});
    free -= take + kSpecialTokensPerPiece;
    begin += take;
    document += take == rest ? 1 : 0;
  }
}

}  // namespace bert::sampling
