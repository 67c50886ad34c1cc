#include "bertctl/exit_code.h"

namespace bert::ctl {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kUnauthenticated;
    case absl::StatusCode::kInvalidArgument:
      return ExitCode::kUsage;
    case absl::StatusCode::kNotFound:
      return ExitCode::kJobNotFound;
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kTimeout;
    case absl::StatusCode::kCancelled:
      return ExitCode::kInterrupted;
    default:
      return ExitCode::kError;
  }
}

ExitCode ExitCodeOfSubmit(const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) return ExitCode::kInvalidSpec;
  if (absl::IsFailedPrecondition(status)) return ExitCode::kUnschedulable;
  return ExitCodeOf(status);
}

ExitCode ExitCodeOf(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_SUCCEEDED:
      return ExitCode::kOk;
    case v1::JOB_STATE_FAILED:
      return ExitCode::kJobFailed;
    case v1::JOB_STATE_CANCELLED:
      return ExitCode::kJobCancelled;
    default:
      return ExitCode::kJobUnfinished;
  }
}

bool HasEnded(v1::JobState state) { return ExitCodeOf(state) != ExitCode::kJobUnfinished; }

std::string ExitCodeHelp() {
  return R"(Exit status:
  0    done; where a command waits for a job: the job succeeded
  1    any other error
  2    wrong usage
  3    the coordinator cannot be reached
  4    not authenticated
  5    the job's spec is not valid
  6    submit --dry-run: all nodes together could not hold the job
  100  the job failed
  101  the job has not ended (get --exit-code)
  102  no such job
  103  the job was cancelled
  124  --timeout was over
  130  interrupted (Ctrl-C); a job goes on
)";
}

}  // namespace bert::ctl
