#include "bertctl/exit_code.h"

#include <gmock/gmock.h>

namespace bert::ctl {
namespace {

int Number(ExitCode code) { return static_cast<int>(code); }

TEST(ExitCodeTest, OfAStatus) {
  EXPECT_EQ(Number(ExitCodeOf(absl::OkStatus())), 0);
  EXPECT_EQ(Number(ExitCodeOf(absl::InternalError(""))), 1);
  EXPECT_EQ(Number(ExitCodeOf(absl::FailedPreconditionError(""))), 1);
  EXPECT_EQ(Number(ExitCodeOf(absl::InvalidArgumentError(""))), 2);
  EXPECT_EQ(Number(ExitCodeOf(absl::UnavailableError(""))), 3);
  EXPECT_EQ(Number(ExitCodeOf(absl::UnauthenticatedError(""))), 4);
  EXPECT_EQ(Number(ExitCodeOf(absl::PermissionDeniedError(""))), 4);
  EXPECT_EQ(Number(ExitCodeOf(absl::NotFoundError(""))), 102);
  EXPECT_EQ(Number(ExitCodeOf(absl::DeadlineExceededError(""))), 124);
  EXPECT_EQ(Number(ExitCodeOf(absl::CancelledError(""))), 130);
}

TEST(ExitCodeTest, OfSubmit) {
  EXPECT_EQ(Number(ExitCodeOfSubmit(absl::OkStatus())), 0);
  EXPECT_EQ(Number(ExitCodeOfSubmit(absl::InvalidArgumentError(""))), 5);
  EXPECT_EQ(Number(ExitCodeOfSubmit(absl::FailedPreconditionError(""))), 6);
  EXPECT_EQ(Number(ExitCodeOfSubmit(absl::UnavailableError(""))), 3);
}

TEST(ExitCodeTest, OfAJob) {
  EXPECT_EQ(Number(ExitCodeOf(v1::JOB_STATE_SUCCEEDED)), 0);
  EXPECT_EQ(Number(ExitCodeOf(v1::JOB_STATE_FAILED)), 100);
  EXPECT_EQ(Number(ExitCodeOf(v1::JOB_STATE_CANCELLED)), 103);
  for (const v1::JobState state :
       {v1::JOB_STATE_PENDING, v1::JOB_STATE_STARTING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_CANCELLING}) {
    EXPECT_EQ(Number(ExitCodeOf(state)), 101);
    EXPECT_FALSE(HasEnded(state));
  }
}

TEST(ExitCodeTest, TheHelpNamesEach) {
  for (const char* number : {"0", "1", "2", "3", "4", "5", "6", "100", "101", "102", "103", "124", "130"}) {
    EXPECT_THAT(ExitCodeHelp(), testing::HasSubstr(std::string("\n  ") + number + " "));
  }
}

}  // namespace
}  // namespace bert::ctl
