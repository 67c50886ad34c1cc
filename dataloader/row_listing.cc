#include "dataloader/row_listing.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
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
  return segments;
}

void PrintJson(int64_t number, const std::vector<Segment>& segments, std::ostream& out) {
  Json list = Json::array();
  for (const Segment& segment : segments) {
    list.push_back({{"input_ids", segment.input_ids}, {"positions", segment.positions}, {"labels", segment.labels}});
  }
  out << Json{{"row", number}, {"segments", list}}.dump() << "\n";
}

void PrintText(int64_t number, const std::vector<Segment>& segments, const text::Tokenizer& tokenizer,
               std::ostream& out) {
  out << "row " << number << ":";
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

}  // namespace

absl::Status Rows(const RowsFlags& flags, const Terminal& terminal) {
  ASSIGN_OR_RETURN(const corpus::SplitKind split, ParseSplit(flags.split));
  ASSIGN_OR_RETURN(const auto dataset, corpus::Dataset::Open(flags.directory));
  ASSIGN_OR_RETURN(const auto index, sampling::RowIndex::Build(dataset, split, flags.max_seq_len));
  // With one row in a step, the step is the row's number.
  ASSIGN_OR_RETURN(const auto sampler,
                   sampling::BatchSampler::Create(index, {.split = split, .seed = flags.seed, .global_batch_size = 1},
                                                  flags.masking));
  ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                   text::LoadTokenizer(absl::StrCat(flags.directory, "/", corpus::kTokenizerFolder)));
  sampling::RowBatch row;
  for (int64_t number = 0; number < std::min(flags.count, index->rows()); ++number) {
    sampler->FillRows(number, 0, 1, &row);
    const std::vector<Segment> segments = Segments(row);
    if (flags.json) {
      PrintJson(number, segments, terminal.out);
    } else {
      PrintText(number, segments, *tokenizer, terminal.out);
    }
  }
  return absl::OkStatus();
}

}  // namespace bert::data
