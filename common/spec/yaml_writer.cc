#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/spec/field_value.h"
#include "common/spec/job_spec.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/time_util.h"

namespace bert::spec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string Indented(const std::string& text) {
  std::string out;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!line.empty()) absl::StrAppend(&out, "  ", line, "\n");
  }
  return out;
}

std::string Write(const Message& message);

// What stands behind "name:", with its newline.
std::string WriteInner(const Message& inner) {
  if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&inner)) {
    return absl::StrCat(" ", google::protobuf::util::TimeUtil::ToString(*time), "\n");
  }
  const std::string fields = Write(inner);
  return fields.empty() ? "" : absl::StrCat("\n", Indented(fields));
}

std::string WriteList(const Message& message, const FieldDescriptor& field) {
  std::string out = "\n";
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (field.message_type() == nullptr) {
      absl::StrAppend(&out, "- ", FieldText(message, field, i), "\n");
      continue;
    }
    std::string item = Indented(Write(reflection.GetRepeatedMessage(message, &field, i)));
    if (item.empty()) item = "  {}\n";
    item[0] = '-';
    out += item;
  }
  return out;
}

std::string Write(const Message& message) {
  std::string out;
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    std::string value;
    if (field.is_repeated()) {
      if (reflection.FieldSize(message, &field) > 0) value = WriteList(message, field);
    } else if (field.has_presence() && !reflection.HasField(message, &field)) {
      continue;
    } else if (field.message_type() != nullptr) {
      value = WriteInner(reflection.GetMessage(message, &field));
    } else {
      value = absl::StrCat(" ", FieldText(message, field), "\n");
    }
    if (!value.empty()) absl::StrAppend(&out, field.name(), ":", value);
  }
  return out;
}

}  // namespace

std::string ToYaml(const Message& message) { return Write(message); }

}  // namespace bert::spec
