// One scalar of a spec: from text into a protobuf field and back.
#ifndef BERT_COMMON_SPEC_FIELD_VALUE_H_
#define BERT_COMMON_SPEC_FIELD_VALUE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace bert::spec {

// Sets a singular scalar or enum `field` of `message` from `text`. Numbers are decimal only, without leading zeros,
// booleans `true` or `false` only: YAML's octal 010 and yes/no surprise people. `quoted`: the text stood in quotes, so
// only string fields take it. The error's message says what was expected and what stood there, without the field's
// name.
absl::Status SetFieldFromText(std::string_view text, bool quoted, const google::protobuf::FieldDescriptor& field,
                              google::protobuf::Message& message);

// The field's value as YAML: strings quoted where they need it, doubles in the shortest form that reads back equal.
std::string FieldText(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field);
// The same for an element of a list of strings.
std::string FieldText(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field,
                      int index);

// The names a user may write for `type`, without `_UNSPECIFIED`.
std::vector<std::string> EnumValueNames(const google::protobuf::EnumDescriptor& type);

}  // namespace bert::spec

#endif  // BERT_COMMON_SPEC_FIELD_VALUE_H_
