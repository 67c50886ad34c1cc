// Reads the file by which the agent hands a trainer its work.
#ifndef BERT_WORKER_TRAINER_ASSIGNMENT_FILE_H_
#define BERT_WORKER_TRAINER_ASSIGNMENT_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/assignment.h"

namespace bert::trainer {

// The JSON form of bert.v1.Assignment. INVALID_ARGUMENT names `source` and what is wrong.
absl::StatusOr<Assignment> ParseAssignment(const std::string& json, const std::string& source);

// As ParseAssignment, from a file; NOT_FOUND.
absl::StatusOr<Assignment> ReadAssignmentFile(const std::string& path);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_ASSIGNMENT_FILE_H_
