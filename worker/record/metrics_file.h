// metrics.jsonl: a JSON object a line for each step and each validation, in the order of steps.
#ifndef BERT_WORKER_RECORD_METRICS_FILE_H_
#define BERT_WORKER_RECORD_METRICS_FILE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "worker/record/points.h"

namespace bert::record {

// With its line end. {"kind":"step","step":12,"loss":...} and {"kind":"validation",...}; times in seconds since 1970.
// Numbers that are not finite are null.
std::string LineOf(const StepPoint& point);
std::string LineOf(const ValidationPoint& point);

// Either of the two, or neither for a line that is no such object.
struct MetricsLine {
  std::optional<StepPoint> step;
  std::optional<ValidationPoint> validation;
};
MetricsLine ParseMetricsLine(std::string_view line);

// Every whole line of the file, without its end. NOT_FOUND: there is none.
absl::Status ForEachLine(const std::string& path, const std::function<void(const std::string& line)>& use);

// Rewrites the file without what lies behind `last_step`, in order and without a torn last line: what a training that
// resumes after `last_step` steps goes on from. A new file takes the old one's place, so that a process of an earlier
// generation that still writes does not write here. No file: nothing to do.
absl::Status KeepUpTo(const std::string& path, int64_t last_step);

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_METRICS_FILE_H_
