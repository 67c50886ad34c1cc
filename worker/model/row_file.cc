#include "worker/model/row_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace bert::model {
namespace {

struct Segment {
  std::vector<int64_t> input_ids;
  std::vector<int64_t> positions;
  std::vector<int64_t> labels;
  std::vector<int64_t> token_type_ids;  // Of a sentence pair, else empty.
};
struct Row {
  std::vector<Segment> segments;
  std::optional<bool> is_next;  // Of a sentence pair.
};

// Whole numbers in [0, limit), or an error that names the field.
absl::Status ReadNumbers(const nlohmann::json& segment, const char* field, int64_t limit,
                         std::vector<int64_t>* numbers) {
  const auto found = segment.find(field);
  if (found == segment.end() || !found->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat("a segment without a list '", field, "'"));
  }
  for (const nlohmann::json& value : *found) {
    if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() >= limit) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": ", value.dump(), "; it takes 0 to ", limit - 1));
    }
    numbers->push_back(value.get<int64_t>());
  }
  return absl::OkStatus();
}

absl::StatusOr<Row> ParseRow(const std::string& text, const ModelConfig& config) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("segments") || !json["segments"].is_array()) {
    return absl::InvalidArgumentError("not an object with a list 'segments'");
  }
  Row row;
  for (const nlohmann::json& value : json["segments"]) {
    if (!value.is_object()) return absl::InvalidArgumentError("a segment that is not an object");
    Segment& segment = row.segments.emplace_back();
    RETURN_IF_ERROR(ReadNumbers(value, "input_ids", config.vocab_size, &segment.input_ids));
    const int64_t length = static_cast<int64_t>(segment.input_ids.size());
    if (length == 0 || length > config.max_position_embeddings) {
      return absl::InvalidArgumentError(
          absl::StrCat("a segment of ", length, " tokens; the model takes 1 to ", config.max_position_embeddings));
    }
    RETURN_IF_ERROR(ReadNumbers(value, "positions", length, &segment.positions));
    RETURN_IF_ERROR(ReadNumbers(value, "labels", config.vocab_size, &segment.labels));
    if (segment.positions.size() != segment.labels.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(segment.positions.size(), " positions but ", segment.labels.size(), " labels"));
    }
    if (!value.contains("token_type_ids")) continue;
    RETURN_IF_ERROR(ReadNumbers(value, "token_type_ids", config.type_vocab_size, &segment.token_type_ids));
    if (segment.token_type_ids.size() != segment.input_ids.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(segment.input_ids.size(), " tokens but ", segment.token_type_ids.size(), " token_type_ids"));
    }
  }
  const auto is_next = json.find("is_next");
  if (is_next == json.end()) return row;
  if (!is_next->is_boolean() || row.segments.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("is_next: ", is_next->dump(), " in a row of ", row.segments.size(),
                                                   " segments; it takes true or false, and one segment"));
  }
  row.is_next = is_next->get<bool>();
  return row;
}

at::Tensor ToTensor(const std::vector<int64_t>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

MaskedBatch MakeBatch(const std::vector<Row>& rows, int64_t pad_token_id) {
  int64_t seq = 0;
  for (const Row& row : rows) {
    int64_t length = 0;
    for (const Segment& segment : row.segments) length += static_cast<int64_t>(segment.input_ids.size());
    seq = std::max(seq, length);
  }
  const std::vector<int64_t> shape = {static_cast<int64_t>(rows.size()), seq};
  MaskedBatch batch;
  batch.input_ids = at::full(shape, pad_token_id, at::kLong);
  batch.position_ids = at::full(shape, 0, at::kLong);
  batch.segments = at::full(shape, -1, at::kInt);
  batch.token_type_ids = at::full(shape, 0, at::kLong);
  std::vector<int64_t> masked_positions;
  std::vector<int64_t> labels;
  std::vector<int64_t> next_sentence_labels;
  for (size_t r = 0; r < rows.size(); ++r) {
    int64_t first = static_cast<int64_t>(r) * seq;
    if (rows[r].is_next) next_sentence_labels.push_back(*rows[r].is_next ? 0 : 1);
    for (size_t s = 0; s < rows[r].segments.size(); ++s) {
      const Segment& segment = rows[r].segments[s];
      for (size_t i = 0; i < segment.input_ids.size(); ++i) {
        const int64_t token = first + static_cast<int64_t>(i);
        batch.input_ids.data_ptr<int64_t>()[token] = segment.input_ids[i];
        batch.position_ids.data_ptr<int64_t>()[token] = static_cast<int64_t>(i);
        batch.segments.data_ptr<int32_t>()[token] = static_cast<int32_t>(s);
        if (segment.token_type_ids.empty()) continue;
        batch.token_type_ids.data_ptr<int64_t>()[token] = segment.token_type_ids[i];
      }
      for (const int64_t position : segment.positions) masked_positions.push_back(first + position);
      labels.insert(labels.end(), segment.labels.begin(), segment.labels.end());
      first += static_cast<int64_t>(segment.input_ids.size());
    }
  }
  batch.masked_positions = ToTensor(masked_positions);
  batch.labels = ToTensor(labels);
  if (next_sentence_labels.size() == rows.size()) batch.next_sentence_labels = ToTensor(next_sentence_labels);
  return batch;
}

}  // namespace

absl::StatusOr<MaskedBatch> ReadRows(std::istream& in, const std::string& path, int64_t rows, const ModelConfig& config,
                                     int64_t* line) {
  std::vector<Row> read;
  std::string text;
  while (static_cast<int64_t>(read.size()) < rows && std::getline(in, text)) {
    ++*line;
    if (text.empty()) continue;
    absl::StatusOr<Row> row = ParseRow(text, config);
    if (!row.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", *line, ": ", row.status().message()));
    }
    read.push_back(*std::move(row));
  }
  if (in.bad()) return absl::InternalError(absl::StrCat("cannot read ", path));
  return MakeBatch(read, config.pad_token_id);
}

}  // namespace bert::model
