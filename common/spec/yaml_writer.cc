#include "absl/strings/str_cat.h"
#include "common/spec/field_value.h"
#include "common/spec/job_spec.h"

namespace bert::spec {
namespace {

void Write(const google::protobuf::Message& message, int indent, std::string& out) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    if (!message.GetReflection()->HasField(message, &field)) continue;
    const std::string start = absl::StrCat(std::string(indent, ' '), field.name(), ":");
    if (field.message_type() == nullptr) {
      absl::StrAppend(&out, start, " ", FieldText(message, field), "\n");
      continue;
    }
    std::string inner;
    Write(message.GetReflection()->GetMessage(message, &field), indent + 2, inner);
    if (!inner.empty()) absl::StrAppend(&out, start, "\n", inner);
  }
}

}  // namespace

std::string ToYaml(const v1::JobSpec& spec) {
  std::string out;
  Write(spec, 0, out);
  return out;
}

}  // namespace bert::spec
