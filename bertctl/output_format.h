// The forms of -o.
#ifndef BERT_BERTCTL_OUTPUT_FORMAT_H_
#define BERT_BERTCTL_OUTPUT_FORMAT_H_

#include <string>

#include "google/protobuf/message.h"

namespace bert::ctl {

enum class OutputFormat { kTable, kWide, kJson, kYaml, kName };

// Protobuf's JSON with the proto's field names, every scalar written, indented; ends with a newline.
std::string ToJson(const google::protobuf::Message& message);
// The same on one line.
std::string ToJsonLine(const google::protobuf::Message& message);
// As a job's spec is written: enum values in lower case without prefix, only fields that are set.
std::string ToYaml(const google::protobuf::Message& message);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_OUTPUT_FORMAT_H_
