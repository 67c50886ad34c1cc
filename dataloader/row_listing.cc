#include "dataloader/row_listing.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "dataloader/corpus/dataset.h"
#include "dataloader/sampling/batch_sampler.h"
#include "dataloader/sampling/row_batch.h"
#include "dataloader/sampling/row_index.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::data {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<corpus::SplitKind> ParseSplit(const std::string& name) {
  for (const corpus::SplitKind split : {corpus::SplitKind::kTrain, corpus::SplitKind::kValidation}) {
    if (corpus::SplitName(split) == name) return split;
  }
  return absl::InvalidArgumentError(absl::StrCat("--split '", name, "': use train or validation"));
}

// One segment of a batch of one row.
struct Segment {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;  // Of a pair.
  std::vector<int32_t> positions;
  std::vector<int32_t> labels;
};

std::vector<Segment> Segments(const sampling::RowBatch& row) {
  std::vector<Segment> segments;
  size_t begin = 0;
  size_t masked = 0;
  for (const uint16_t length : row.segment_lengths) {
    Segment& segment = segments.emplace_back();
    const size_t end = begin + length;
    segment.input_ids.assign(row.token_ids.begin() + static_cast<std::ptrdiff_t>(begin),
                             row.token_ids.begin() + static_cast<std::ptrdiff_t>(end));
    for (; masked < row.masked_positions.size() && row.masked_positions[masked] < end; ++masked) {
      segment.positions.push_back(static_cast<int32_t>(row.masked_positions[masked] - begin));
      segment.labels.push_back(row.labels[masked]);
    }
    begin = end;
  }
  if (!row.second_begins.empty()) {
    std::vector<int32_t>& types = segments.front().token_type_ids;
    types.assign(segments.front().input_ids.size(), 1);
    std::fill_n(types.begin(), row.second_begins.front(), 0);
  }
  return segments;
}

void PrintJson(int64_t number, const sampling::RowBatch& row, std::ostream& out) {
  Json list = Json::array();
  for (const Segment& segment : Segments(row)) {
    Json object = {{"input_ids", segment.input_ids}, {"positions", segment.positions}, {"labels", segment.labels}};
    if (!segment.token_type_ids.empty()) object["token_type_ids"] = segment.token_type_ids;
    list.push_back(std::move(object));
  }
  Json object = {{"row", number}, {"segments", list}};
  if (!row.is_next.empty()) object["is_next"] = row.is_next.front() != 0;
  out << object.dump() << "\n";
}

void PrintText(int64_t number, const sampling::RowBatch& row, const text::Tokenizer& tokenizer, std::ostream& out) {
  out << "row " << number;
  if (!row.is_next.empty()) out << (row.is_next.front() != 0 ? " (next)" : " (not next)");
  out << ":";
  const std::vector<Segment> segments = Segments(row);
  for (const Segment& segment : segments) {
    size_t masked = 0;
    for (size_t i = 0; i < segment.input_ids.size(); ++i) {
      out << " " << tokenizer.Token(static_cast<uint32_t>(segment.input_ids[i]));
      if (masked < segment.positions.size() && segment.positions[masked] == static_cast<int32_t>(i)) {
        out << "=" << tokenizer.Token(static_cast<uint32_t>(segment.labels[masked++]));
      }
    }
  }
  out << "\n";
}

// Rows of the first epoch's masks and pairs; an epoch of train has each once.
absl::Status PrintSummary(const RowsFlags& flags, const sampling::RowIndex& index, sampling::BatchSampler& sampler,
                          std::ostream& out) {
  int64_t slots_used = 0;
  int64_t masked = 0;
  int64_t pairs = 0;
  int64_t next = 0;
  sampling::RowBatch row;
  for (int64_t number = 0; number < index.rows(); ++number) {
    RETURN_IF_ERROR(sampler.FillRows(number, 0, 1, &row));
    slots_used += static_cast<int64_t>(row.token_ids.size());
    masked += static_cast<int64_t>(row.labels.size());
    pairs += static_cast<int64_t>(row.is_next.size());
    for (const uint8_t is_next : row.is_next) next += is_next;
  }
  const int64_t slots = index.rows() * index.max_seq_len();
  const auto percent = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0.0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
  };
  out << absl::StrFormat("%s, %s: %d rows of %d; %d of %d slots are used (%.3f%%), %d are masked (%.2f%% of them)",
                         flags.split, std::string(sampling::RowFormatName(flags.format)), index.rows(),
                         index.max_seq_len(), slots_used, slots, percent(slots_used, slots), masked,
                         percent(masked, slots_used));
  if (pairs > 0) out << absl::StrFormat("; %.2f%% of the pairs are true ones", percent(next, pairs));
  out << "\n";
  return absl::OkStatus();
}

}  // namespace

absl::Status Rows(const RowsFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const corpus::SplitKind split, ParseSplit(flags.split));
  ASSIGN_OR_RETURN(const auto dataset, corpus::Dataset::Open(flags.directory));
  ASSIGN_OR_RETURN(const auto index, sampling::RowIndex::Build(dataset, split, flags.max_seq_len, flags.format));
  // With one row in a step, the step is the row's number.
  ASSIGN_OR_RETURN(const auto sampler,
                   sampling::BatchSampler::Create(index, {.split = split, .seed = flags.seed, .global_batch_size = 1},
                                                  flags.masking));
  if (flags.summary) return PrintSummary(flags, *index, *sampler, terminal.out);
  ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                   text::LoadTokenizer(absl::StrCat(flags.directory, "/", corpus::kTokenizerFolder)));
  sampling::RowBatch row;
  for (int64_t number = 0; number < std::min(flags.count, index->rows()); ++number) {
    RETURN_IF_ERROR(sampler->FillRows(number, 0, 1, &row));
    if (flags.json) {
      PrintJson(number, row, terminal.out);
    } else {
      PrintText(number, row, *tokenizer, terminal.out);
    }
  }
  return absl::OkStatus();
}

}  // namespace bert::data
