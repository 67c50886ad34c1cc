// A job's spec from a user's YAML to what the coordinator stores: read, complete, validate, print.
//
//   ASSIGN_OR_RETURN(ParsedSpec parsed, ParseJobSpec(text, "job.yaml", {"train.steps=500"}));
//   ASSIGN_OR_RETURN(v1::JobSpec complete, Complete(parsed.spec, parsed.locations));
//   RETURN_IF_ERROR(Validate(complete, parsed.locations));
//
// Every error is INVALID_ARGUMENT. Its message has one line per problem, in the order of the file, of the form
//   job.yaml:7: train.stepz: unknown field; did you mean 'train.steps'?
// and without the location where the spec did not come from a file. All functions are pure and thread-safe.
#ifndef BERT_COMMON_SPEC_JOB_SPEC_H_
#define BERT_COMMON_SPEC_JOB_SPEC_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bert/v1/job_spec.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace bert::spec {

// Where each field was given: "train.steps" -> "job.yaml:12", or "--set train.steps=500"; "" -> the file.
using FieldLocations = std::map<std::string, std::string>;

struct ParsedSpec {
  // Only what the user gave.
  v1::JobSpec spec;
  FieldLocations locations;
};

// Reads one YAML document whose keys are the field names of bert.v1.JobSpec; enum values are in lower case without
// their prefix. `file_name` is used in messages only. Each of `overrides` is "a.b=value", applied in order after the
// file; the last one of a field wins. Unknown and duplicate keys, wrong types, and numbers out of range are errors.
absl::StatusOr<ParsedSpec> ParseJobSpec(std::string_view yaml_text, std::string_view file_name,
                                        const std::vector<std::string>& overrides = {});

// The preset's fields, overlaid by those of `spec`, then defaults for all that is left. Completing twice changes
// nothing. Error: no preset of that name. Fields without a sensible default (data.dataset) stay unset.
absl::StatusOr<v1::JobSpec> Complete(const v1::JobSpec& spec, const FieldLocations& locations = {});

// Checks every bound of a complete spec.
absl::Status Validate(const v1::JobSpec& spec, const FieldLocations& locations = {});

// Every field that is set or cannot be unset, in the proto's order; a JobSpec in a form that ParseJobSpec reads back to
// an equal message. Any other message too: lists as `- item`, timestamps in RFC 3339. Ends with a newline unless empty.
std::string ToYaml(const google::protobuf::Message& message);

// Sorted.
std::vector<std::string> PresetNames();

// "post_ln" for NORM_PLACEMENT_POST_LN: the value's name in lower case without its enum's prefix.
std::string EnumValueName(const google::protobuf::EnumValueDescriptor& value);

}  // namespace bert::spec

#endif  // BERT_COMMON_SPEC_JOB_SPEC_H_
