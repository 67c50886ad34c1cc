#include "dataloader/sampling/row_batch.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace bert::sampling {
namespace {

static_assert(std::endian::native == std::endian::little, "integers are copied as they are");

constexpr int kSegmentLengthMin = 3;  // [CLS], a token, [SEP]
constexpr int kSecondBeginMin = 3;    // [CLS], a token, [SEP]
constexpr int kSecondTokensMin = 2;   // A token, [SEP]

std::string EncodeU16(const std::vector<uint16_t>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(uint16_t));
}

std::string EncodeTokens(const std::vector<int32_t>& ids, int token_bytes) {
  if (token_bytes == 4) return std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
  std::string bytes(ids.size() * sizeof(uint16_t), '\0');
  char* out = bytes.data();
  for (const int32_t id : ids) {
    const auto narrow = static_cast<uint16_t>(id);
    std::memcpy(out, &narrow, sizeof(narrow));
    out += sizeof(narrow);
  }
  return bytes;
}

// Turns the bytes of one message into numbers, and keeps the first thing wrong with them.
class Decoder {
 public:
  Decoder(int64_t step, const DecodeLimits& limits) : step_(step), limits_(limits) {}

  std::vector<uint16_t> U16(std::string_view bytes, absl::string_view field) {
    std::vector<uint16_t> values(Length(bytes, sizeof(uint16_t), field));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  std::vector<uint8_t> U8(std::string_view bytes) { return {bytes.begin(), bytes.end()}; }

  std::vector<int32_t> Tokens(std::string_view bytes, absl::string_view field) {
    const auto token_bytes = static_cast<size_t>(WireTokenBytes(limits_.vocab_size));
    std::vector<int32_t> ids(Length(bytes, token_bytes, field));
    if (token_bytes == sizeof(uint16_t)) {
      for (size_t i = 0; i < ids.size(); ++i) {
        uint16_t narrow = 0;
        std::memcpy(&narrow, bytes.data() + i * sizeof(narrow), sizeof(narrow));
        ids[i] = narrow;
      }
    } else if (!ids.empty()) {
      std::memcpy(ids.data(), bytes.data(), bytes.size());
    }
    uint32_t largest = 0;  // Negative ids become very large ones.
    for (const int32_t id : ids) largest = std::max(largest, static_cast<uint32_t>(id));
    if (!ids.empty() && largest >= static_cast<uint32_t>(limits_.vocab_size)) {
      Fail(field, absl::StrCat("token ", largest, " of a vocabulary of ", limits_.vocab_size));
    }
    return ids;
  }

  void ExpectSize(size_t size, int64_t expected, absl::string_view field) {
    if (static_cast<int64_t>(size) != expected) Fail(field, absl::StrCat(size, " values where ", expected, " belong"));
  }

  void Fail(absl::string_view field, absl::string_view what) {
    if (status_.ok()) status_ = absl::DataLossError(absl::StrCat("batch of step ", step_, ": ", field, ": ", what));
  }

  const absl::Status& status() const { return status_; }

 private:
  size_t Length(std::string_view bytes, size_t width, absl::string_view field) {
    if (bytes.size() % width != 0) {
      Fail(field, absl::StrCat(bytes.size(), " bytes do not divide by ", width));
      return 0;
    }
    return bytes.size() / width;
  }

  const int64_t step_;
  const DecodeLimits limits_;
  absl::Status status_;
};

int64_t Sum(const std::vector<uint16_t>& values) { return std::accumulate(values.begin(), values.end(), int64_t{0}); }

// Checks each row's segments and masked positions; all counts are known to add up.
void CheckRows(const RowBatch& batch, int32_t max_seq_len, Decoder& decoder) {
  size_t segment = 0;
  size_t masked = 0;
  for (int32_t row = 0; row < batch.row_count; ++row) {
    int64_t row_length = 0;
    if (batch.segment_counts[row] == 0) decoder.Fail("segment_counts", absl::StrCat("row ", row, " has no segment"));
    for (int i = 0; i < batch.segment_counts[row]; ++i) {
      const int length = batch.segment_lengths[segment++];
      if (length < kSegmentLengthMin) {
        decoder.Fail("segment_lengths", absl::StrCat("row ", row, " has a segment of ", length, " tokens"));
      }
      row_length += length;
    }
    if (row_length > max_seq_len) {
      decoder.Fail("segment_lengths",
                   absl::StrCat("row ", row, " has ", row_length, " tokens; ", max_seq_len, " are the most"));
    }
    int64_t previous = -1;
    for (int i = 0; i < batch.masked_counts[row]; ++i) {
      const int64_t position = batch.masked_positions[masked++];
      if (position <= previous || position >= row_length) {
        decoder.Fail("masked_positions", absl::StrCat("row ", row, " of ", row_length, " tokens has position ",
                                                      position, " behind ", previous));
      }
      previous = position;
    }
  }
}

// Each row of a batch of pairs; CheckRows has found nothing wrong.
void CheckPairs(const RowBatch& batch, Decoder& decoder) {
  for (int32_t row = 0; row < batch.row_count; ++row) {
    if (batch.segment_counts[row] != 1) {
      decoder.Fail("segment_counts",
                   absl::StrCat("row ", row, " is a pair of ", batch.segment_counts[row], " segments"));
      return;
    }
    const int begin = batch.second_begins[row];
    if (begin < kSecondBeginMin || begin + kSecondTokensMin > batch.segment_lengths[row]) {
      decoder.Fail("second_begins", absl::StrCat("row ", row, " of ", batch.segment_lengths[row],
                                                 " tokens has a second part from ", begin, " on"));
    }
    if (batch.is_next[row] > 1) decoder.Fail("is_next", absl::StrCat("row ", row, " has ", batch.is_next[row]));
  }
}

template <typename T>
void Extend(std::vector<T>* values, const std::vector<T>& more) {
  values->insert(values->end(), more.begin(), more.end());
}

}  // namespace

void RowBatch::Clear() {
  row_count = 0;
  token_ids.clear();
  segment_counts.clear();
  segment_lengths.clear();
  masked_counts.clear();
  masked_positions.clear();
  labels.clear();
  second_begins.clear();
  is_next.clear();
}

void RowBatch::Append(const RowBatch& next) {
  BERT_CHECK(next.step == step && next.row_begin == row_begin + row_count)
      << "step " << next.step << " row " << next.row_begin << " behind step " << step << " row "
      << row_begin + row_count;
  row_count += next.row_count;
  Extend(&token_ids, next.token_ids);
  Extend(&segment_counts, next.segment_counts);
  Extend(&segment_lengths, next.segment_lengths);
  Extend(&masked_counts, next.masked_counts);
  Extend(&masked_positions, next.masked_positions);
  Extend(&labels, next.labels);
  Extend(&second_begins, next.second_begins);
  Extend(&is_next, next.is_next);
}

EncodedRowsView ViewOf(const EncodedRows& rows) {
  return {.step = rows.step,
          .row_begin = rows.row_begin,
          .row_count = rows.row_count,
          .token_ids = rows.token_ids,
          .segment_counts = rows.segment_counts,
          .segment_lengths = rows.segment_lengths,
          .masked_counts = rows.masked_counts,
          .masked_positions = rows.masked_positions,
          .labels = rows.labels,
          .second_begins = rows.second_begins,
          .is_next = rows.is_next};
}

EncodedRows Encode(const RowBatch& batch, int32_t vocab_size) {
  const int token_bytes = WireTokenBytes(vocab_size);
  return {.step = batch.step,
          .row_begin = batch.row_begin,
          .row_count = batch.row_count,
          .token_ids = EncodeTokens(batch.token_ids, token_bytes),
          .segment_counts = EncodeU16(batch.segment_counts),
          .segment_lengths = EncodeU16(batch.segment_lengths),
          .masked_counts = EncodeU16(batch.masked_counts),
          .masked_positions = EncodeU16(batch.masked_positions),
          .labels = EncodeTokens(batch.labels, token_bytes),
          .second_begins = EncodeU16(batch.second_begins),
          .is_next = std::string(batch.is_next.begin(), batch.is_next.end())};
}

absl::StatusOr<RowBatch> Decode(const EncodedRowsView& rows, const DecodeLimits& limits) {
  Decoder decoder(rows.step, limits);
  if (rows.step < 0 || rows.row_begin < 0 || rows.row_count < 0) {
    decoder.Fail("rows", absl::StrCat(rows.row_count, " from ", rows.row_begin, " on"));
    return decoder.status();
  }
  RowBatch batch{.step = rows.step,
                 .row_begin = rows.row_begin,
                 .row_count = rows.row_count,
                 .token_ids = decoder.Tokens(rows.token_ids, "token_ids"),
                 .segment_counts = decoder.U16(rows.segment_counts, "segment_counts"),
                 .segment_lengths = decoder.U16(rows.segment_lengths, "segment_lengths"),
                 .masked_counts = decoder.U16(rows.masked_counts, "masked_counts"),
                 .masked_positions = decoder.U16(rows.masked_positions, "masked_positions"),
                 .labels = decoder.Tokens(rows.labels, "labels"),
                 .second_begins = decoder.U16(rows.second_begins, "second_begins"),
                 .is_next = decoder.U8(rows.is_next)};
  decoder.ExpectSize(batch.segment_counts.size(), batch.row_count, "segment_counts");
  decoder.ExpectSize(batch.masked_counts.size(), batch.row_count, "masked_counts");
  decoder.ExpectSize(batch.segment_lengths.size(), Sum(batch.segment_counts), "segment_lengths");
  decoder.ExpectSize(batch.token_ids.size(), Sum(batch.segment_lengths), "token_ids");
  decoder.ExpectSize(batch.masked_positions.size(), Sum(batch.masked_counts), "masked_positions");
  decoder.ExpectSize(batch.labels.size(), Sum(batch.masked_counts), "labels");
  const int64_t pairs = limits.sentence_pairs ? batch.row_count : 0;
  decoder.ExpectSize(batch.second_begins.size(), pairs, "second_begins");
  decoder.ExpectSize(batch.is_next.size(), pairs, "is_next");
  RETURN_IF_ERROR(decoder.status());
  CheckRows(batch, limits.max_seq_len, decoder);
  RETURN_IF_ERROR(decoder.status());
  if (limits.sentence_pairs) CheckPairs(batch, decoder);
  RETURN_IF_ERROR(decoder.status());
  return batch;
}

}  // namespace bert::sampling
