#include "bertctl/output_format.h"

#include "common/check.h"
#include "common/spec/job_spec.h"
#include "google/protobuf/util/json_util.h"

namespace bert::ctl {
namespace {

std::string Print(const google::protobuf::Message& message, bool indented) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indented;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  BERT_CHECK(status.ok()) << status.ToString();
  return text;
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) { return Print(message, true); }

std::string ToJsonLine(const google::protobuf::Message& message) { return Print(message, false) + "\n"; }

std::string ToYaml(const google::protobuf::Message& message) { return spec::ToYaml(message); }

}  // namespace bert::ctl
