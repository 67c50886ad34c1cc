// What bert-model's commands do, apart from reading the command line.
#ifndef BERT_WORKER_MODEL_COMMANDS_H_
#define BERT_WORKER_MODEL_COMMANDS_H_

#include <cstdint>
#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace bert::model {

struct FillMaskFlags {
  std::string model;
  std::vector<std::string> texts;  // Without any: the lines of `in`.
  int64_t top_k = 3;
  bool json = false;
};
// Prints each text and its predictions. Errors of MaskFiller.
absl::Status FillMask(const FillMaskFlags& flags, std::istream& in, std::ostream& out);

struct InspectFlags {
  std::string model;
  bool json = false;
};
// Prints configuration, size, tensors, and of a checkpoint its step.
absl::Status Inspect(const InspectFlags& flags, std::ostream& out);

struct EvaluateFlags {
  std::string model;
  std::string rows;  // A file for ReadRows, or "-" for `in`.
  int64_t batch_rows = 16;
  bool bf16 = false;
  bool json = false;
};
// Prints the mean loss over the masked tokens of the rows, the perplexity, and how many are predicted right.
absl::Status Evaluate(const EvaluateFlags& flags, std::istream& in, std::ostream& out);

}  // namespace bert::model

#endif  // BERT_WORKER_MODEL_COMMANDS_H_
