// What bertctl's exit status says. Scripts depend on these numbers; they never change.
#ifndef BERT_BERTCTL_EXIT_CODE_H_
#define BERT_BERTCTL_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "bert/v1/jobs.pb.h"

namespace bert::ctl {

enum class ExitCode : int {
  kOk = 0,
  kError = 1,
  kUsage = 2,
  kUnreachable = 3,
  kUnauthenticated = 4,
  kInvalidSpec = 5,
  kUnschedulable = 6,
  kJobFailed = 100,
  kJobUnfinished = 101,
  kJobNotFound = 102,
  kJobCancelled = 103,
  kTimeout = 124,
  kInterrupted = 130,
};

// Of an RPC's status. CANCELLED means a signal to this process.
ExitCode ExitCodeOf(const absl::Status& status);
// The same for SubmitJob, whose INVALID_ARGUMENT and FAILED_PRECONDITION speak of the spec.
ExitCode ExitCodeOfSubmit(const absl::Status& status);

// Of a job's state: for commands that wait for its end, or are asked for its state.
ExitCode ExitCodeOf(v1::JobState state);

// SUCCEEDED, FAILED or CANCELLED.
bool HasEnded(v1::JobState state);

// The table for --help.
std::string ExitCodeHelp();

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_EXIT_CODE_H_
