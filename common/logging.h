// Logging through spdlog, to stderr: one line an event. Write ids as key=value behind the words.
#ifndef BERT_COMMON_LOGGING_H_
#define BERT_COMMON_LOGGING_H_

#include <string>

#include "absl/status/status.h"

namespace bert {

struct LogOptions {
  std::string level = "info";   // trace, debug, info, warning, error
  std::string format = "text";  // text, json
};

// Call once, before threads start. INVALID_ARGUMENT names the option.
absl::Status InitLogging(const std::string& program, const LogOptions& options);

}  // namespace bert

#endif  // BERT_COMMON_LOGGING_H_
