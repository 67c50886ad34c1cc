#include "worker/record/event_file.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "bert/tensorboard/v1/event.pb.h"
#include "worker/record/crc32c.h"

namespace bert::record {
namespace {

namespace pb = ::bert::tensorboard::v1;

template <typename Integer>
void AppendLittleEndian(Integer value, std::string& out) {
  for (size_t i = 0; i < sizeof(value); ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

template <typename Integer>
Integer ReadLittleEndian(std::string_view bytes) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) value |= static_cast<Integer>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  return value;
}

pb::Event EventAt(int64_t step, absl::Time time) {
  pb::Event event;
  event.set_wall_time(absl::ToDoubleSeconds(time - absl::UnixEpoch()));
  event.set_step(step);
  return event;
}

void AddScalar(const char* tag, double value, pb::Event& event) {
  if (!std::isfinite(value)) return;
  pb::Value& out = *event.mutable_summary()->add_values();
  out.set_tag(tag);
  out.set_simple_value(static_cast<float>(value));
}

void AddText(const char* tag, const std::string& text, pb::Event& event) {
  pb::Value& out = *event.mutable_summary()->add_values();
  out.set_tag(tag);
  out.mutable_metadata()->mutable_plugin()->set_name("text");
  pb::Tensor& tensor = *out.mutable_tensor();
  tensor.set_data_type(pb::DATA_TYPE_STRING);
  tensor.mutable_shape()->add_dimensions()->set_size(1);
  tensor.add_strings(text);
}

}  // namespace

std::string FrameRecord(std::string_view bytes) {
  std::string out;
  AppendLittleEndian(static_cast<uint64_t>(bytes.size()), out);
  AppendLittleEndian(MaskedCrc32c(out), out);
  out.append(bytes);
  AppendLittleEndian(MaskedCrc32c(bytes), out);
  return out;
}

std::string EventFileHeader(int64_t first_step, absl::Time now) {
  pb::Event version = EventAt(0, now);
  version.set_file_version("brain.Event:2");
  pb::Event start = EventAt(first_step, now);
  start.mutable_session_log()->set_status(pb::SESSION_STATUS_START);
  return FrameRecord(version.SerializeAsString()) + FrameRecord(start.SerializeAsString());
}

std::string EventOf(const StepPoint& point) {
  pb::Event event = EventAt(point.step, point.time);
  if (!point.skipped) {
    AddScalar("train/loss", point.loss, event);
    if (point.next_sentence_loss) AddScalar("train/next_sentence_loss", *point.next_sentence_loss, event);
    AddScalar("train/perplexity", std::exp(point.loss), event);
    AddScalar("train/grad_norm", point.grad_norm, event);
  }
  AddScalar("train/learning_rate", point.learning_rate, event);
  AddScalar("train/tokens_per_second", point.tokens_per_second, event);
  if (point.mfu > 0) AddScalar("train/mfu", point.mfu, event);
  AddScalar("train/data_wait", point.data_wait, event);
  AddScalar("train/checkpoint_stall", point.checkpoint_stall, event);
  return FrameRecord(event.SerializeAsString());
}

std::string EventOf(const ValidationPoint& point) {
  pb::Event event = EventAt(point.step, point.time);
  AddScalar("validation/loss", point.loss, event);
  AddScalar("validation/perplexity", point.perplexity, event);
  AddScalar("validation/accuracy", point.accuracy, event);
  if (point.next_sentence_loss) AddScalar("validation/next_sentence_loss", *point.next_sentence_loss, event);
  if (point.next_sentence_accuracy) {
    AddScalar("validation/next_sentence_accuracy", *point.next_sentence_accuracy, event);
  }
  if (!point.predictions.empty()) AddText("validation/predictions", point.predictions, event);
  return FrameRecord(event.SerializeAsString());
}

size_t BytesUpTo(std::string_view file, int64_t last_step) {
  constexpr size_t kLengthBytes = sizeof(uint64_t);
  constexpr size_t kChecksumBytes = sizeof(uint32_t);
  constexpr size_t kFrameBytes = kLengthBytes + 2 * kChecksumBytes;
  size_t kept = 0;
  while (file.size() - kept >= kFrameBytes) {
    const std::string_view left = file.substr(kept);
    const std::string_view length_bytes = left.substr(0, kLengthBytes);
    if (ReadLittleEndian<uint32_t>(left.substr(kLengthBytes)) != MaskedCrc32c(length_bytes)) break;
    const auto length = ReadLittleEndian<uint64_t>(length_bytes);
    if (length > left.size() - kFrameBytes) break;
    const std::string_view content = left.substr(kLengthBytes + kChecksumBytes, length);
    if (ReadLittleEndian<uint32_t>(left.substr(kLengthBytes + kChecksumBytes + length)) != MaskedCrc32c(content)) break;
    pb::Event event;
    if (!event.ParseFromArray(content.data(), static_cast<int>(content.size())) || event.step() > last_step) break;
    kept += kFrameBytes + length;
  }
  return kept;
}

std::string EventFileName(int64_t generation) { return absl::StrFormat("%s%010d", kEventFilePrefix, generation); }

}  // namespace bert::record
