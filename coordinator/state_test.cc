#include "coordinator/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/test_updates.h"

namespace bert::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void ApplyAll(State& state, const std::vector<Update>& updates) {
  for (const Update& update : updates) {
    const absl::Status status = state.Apply(update);
    ASSERT_TRUE(status.ok()) << status << "\n" << update.DebugString();
  }
}

// Updates that bring job "j" (two ranks on nodes a and b) to each place of its life.
std::map<std::string, std::vector<Update>> Histories() {
  const std::vector<Update> submitted = {Registered("a", "a1", 2), Registered("b", "b1", 2),
                                         Submitted("j", TestSpec(2, 2))};
  const auto then = [](std::vector<Update> updates, const std::vector<Update>& more) {
    updates.insert(updates.end(), more.begin(), more.end());
    return updates;
  };
  const auto starting = then(submitted, {Started("j", 1, {{"a", 0}, {"b", 0}})});
  const auto running = then(starting, {Formed("j", 1)});
  const auto failing = then(running, {Failed("j", 1, "it broke", /*secondary=*/true)});
  const auto failed_once = then(failing, {RankGone("j", 1, 0), RankGone("j", 1, 1)});
  const auto done = then(running, {RankGone("j", 1, 0), RankGone("j", 1, 1)});
  return {{"none", {Registered("a", "a1", 2), Registered("b", "b1", 2)}},
          {"pending", submitted},
          {"starting", starting},
          {"running", running},
          {"failing", failing},
          {"failed_once", failed_once},
          {"done", done},
          {"cancelling", then(running, {CancelRequested("j")})},
          {"cancelled_at_once", then(submitted, {CancelRequested("j")})},
          {"succeeded", then(done, {Ended("j", v1::JOB_STATE_SUCCEEDED)})},
          {"failed", then(failed_once, {Ended("j", v1::JOB_STATE_FAILED, "why")})}};
}

// Where each update on job "j" is allowed; everywhere else it must be refused and change nothing.
TEST(StateTest, UpdatesAreRefusedInTheWrongStates) {
  struct Case {
    std::string name;
    Update update;
    std::vector<std::string> allowed;
  };
  const std::vector<Case> cases = {
      {"submit", Submitted("j", TestSpec(2, 2)), {"none"}},
      {"cancel", CancelRequested("j"), {"pending", "starting", "running", "failing", "failed_once", "done"}},
      {"start 1", Started("j", 1, {{"a", 1}, {"b", 1}}), {"pending"}},
      {"start 2", Started("j", 2, {{"a", 1}, {"b", 1}}), {"failed_once"}},
      {"form", Formed("j", 1), {"starting"}},
      {"rank ends", RankGone("j", 1, 1), {"starting", "running", "failing", "cancelling"}},
      {"generation fails", Failed("j", 1), {"starting", "running", "done"}},
      {"amend", Amended("j", 1, "the cause"), {"failing", "failed_once"}},
      {"succeed", Ended("j", v1::JOB_STATE_SUCCEEDED), {"done"}},
      {"fail", Ended("j", v1::JOB_STATE_FAILED), {"failed_once"}},
      {"be cancelled", Ended("j", v1::JOB_STATE_CANCELLED), {"cancelled_at_once"}},
      {"end running", Ended("j", v1::JOB_STATE_RUNNING), {}},
      {"commit", Committed("j", 1, 10), {"running", "done", "cancelling"}},
      {"commit of another generation", Committed("j", 2, 10), {}},
      {"nothing", Update(), {}},
  };
  for (const auto& [place, history] : Histories()) {
    State state;
    ApplyAll(state, history);
    const std::string before = state.ToSnapshot().SerializeAsString();
    for (const Case& test : cases) {
      SCOPED_TRACE(absl::StrCat(test.name, " while ", place));
      const bool allowed = std::find(test.allowed.begin(), test.allowed.end(), place) != test.allowed.end();
      const absl::Status valid = state.Validate({test.update});
      EXPECT_EQ(valid.ok(), allowed) << valid;
      EXPECT_EQ(state.ToSnapshot().SerializeAsString(), before);
      State copy = state;
      EXPECT_EQ(copy.Apply(test.update).ok(), allowed);
      EXPECT_EQ(copy.ToSnapshot().SerializeAsString() == before, !allowed);
    }
  }
}

TEST(StateTest, SlotsAreHeldUntilTheRankHasEnded) {
  State state;
  ApplyAll(state, Histories()["failing"]);
  ApplyAll(state, {Submitted("k", TestSpec(1, 4))});
  const auto start_k = Started("k", 1, {{"b", 0}});
  EXPECT_THAT(std::string(state.Apply(start_k).message()), HasSubstr("the slot is not free"));
  ApplyAll(state, {RankGone("j", 1, 1), start_k});
  EXPECT_EQ(state.HeldSlots(NodeName("b")).at(0).job, JobId("k"));
}

TEST(StateTest, AGenerationIsAllOrNothing) {
  State state;
  ApplyAll(state, {Registered("a", "a1", 2), Submitted("j", TestSpec(2, 3))});
  EXPECT_FALSE(state.Apply(Started("j", 1, {{"a", 0}})).ok());
  EXPECT_FALSE(state.Apply(Started("j", 1, {{"a", 0}, {"a", 0}})).ok());
  EXPECT_FALSE(state.Apply(Started("j", 1, {{"a", 0}, {"a", 2}})).ok());
  EXPECT_FALSE(state.Apply(Started("j", 1, {{"a", 0}, {"x", 0}})).ok());
  EXPECT_TRUE(state.HeldSlots(NodeName("a")).empty());
  EXPECT_TRUE(state.Apply(Started("j", 1, {{"a", 1}, {"a", 0}})).ok());
}

TEST(StateTest, ALostNodeEndsItsRanksAndTakesNoNewOnes) {
  State state;
  ApplyAll(state, Histories()["running"]);
  ApplyAll(state, {Lost("a", "a1")});
  EXPECT_TRUE(state.FindJob(JobId("j"))->ranks(0).ended());
  EXPECT_FALSE(state.FindJob(JobId("j"))->ranks(1).ended());
  EXPECT_FALSE(state.Apply(Lost("a", "a1")).ok());
  // Its rank did not end well: this is no success.
  ApplyAll(state, {RankGone("j", 1, 1)});
  EXPECT_FALSE(state.Apply(Ended("j", v1::JOB_STATE_SUCCEEDED)).ok());
  ApplyAll(state, {Failed("j", 1)});
  EXPECT_FALSE(state.Apply(Started("j", 2, {{"a", 0}, {"b", 0}})).ok());
  EXPECT_FALSE(state.Apply(Registered("a", "a1", 2)).ok());
  ApplyAll(state, {Registered("a", "a2", 2), Started("j", 2, {{"a", 0}, {"b", 0}})});
}

TEST(StateTest, ANewIncarnationEndsWhatTheOldOneRan) {
  State state;
  ApplyAll(state, Histories()["running"]);
  ApplyAll(state, {Registered("a", "a2", 1)});
  EXPECT_THAT(state.FindJob(JobId("j"))->ranks(0).lost_reason(), HasSubstr("anew"));
  const absl::Status late = state.Apply(Registered("a", "a1", 1));
  EXPECT_TRUE(absl::IsFailedPrecondition(late));
  EXPECT_THAT(std::string(late.message()), testing::AllOf(HasSubstr("a1"), HasSubstr("a2")));
}

TEST(StateTest, OnlyANewStepIsProgress) {
  State state;
  ApplyAll(state, Histories()["running"]);
  const auto fail_and_restart = [&](int64_t generation) {
    ApplyAll(state, {Failed("j", generation, absl::StrCat("cause ", generation)), RankGone("j", generation, 0),
                     RankGone("j", generation, 1), Started("j", generation + 1, {{"a", 0}, {"b", 0}}),
                     Formed("j", generation + 1)});
  };
  const auto job = [&]() -> const JobRecord& { return *state.FindJob(JobId("j")); };
  ApplyAll(state, {Committed("j", 1, 10)});
  fail_and_restart(1);
  fail_and_restart(2);
  EXPECT_EQ(job().failures_without_progress(), 2);
  EXPECT_EQ(job().root_cause().cause(), "cause 1");
  EXPECT_EQ(job().restarts(), 2);
  // The same step again, rerun from its start.
  ApplyAll(state, {Committed("j", 3, 10)});
  EXPECT_EQ(job().failures_without_progress(), 2);
  EXPECT_EQ(job().checkpoints_size(), 1);
  ApplyAll(state, {Committed("j", 3, 20)});
  EXPECT_EQ(job().failures_without_progress(), 0);
  EXPECT_FALSE(job().has_root_cause());
}

TEST(StateTest, CheckpointsAreKeptInTheOrderOfTheirCommits) {
  State state;
  ApplyAll(state, Histories()["running"]);
  ApplyAll(state, {Committed("j", 1, 10), Committed("j", 1, 20), Committed("j", 1, 30, {10})});
  EXPECT_FALSE(state.Apply(Committed("j", 1, 40, {10})).ok());
  const JobRecord& job = *state.FindJob(JobId("j"));
  EXPECT_THAT(job.dropped_directories(), ElementsAre("/checkpoints/j/step-10"));
  ASSERT_EQ(job.checkpoints_size(), 2);
  EXPECT_EQ(job.checkpoints(0).step(), 20);
  EXPECT_EQ(job.checkpoints(1).step(), 30);
}

TEST(StateTest, TheCauseBehindASecondaryFailureReplacesIt) {
  State state;
  ApplyAll(state, Histories()["failing"]);
  ApplyAll(state, {Amended("j", 1, "the cause")});
  EXPECT_EQ(state.FindJob(JobId("j"))->root_cause().cause(), "the cause");
  EXPECT_FALSE(state.Apply(Amended("j", 1, "another")).ok());
}

TEST(StateTest, RequestsAreRemembered) {
  State state;
  ApplyAll(state, {Submitted("j", TestSpec(1, 1), "r1")});
  EXPECT_EQ(state.FindRequest("r1")->job_id(), "j");
  EXPECT_EQ(state.FindRequest("r2"), nullptr);
  EXPECT_TRUE(absl::IsAlreadyExists(state.Apply(Submitted("k", TestSpec(1, 1), "r1"))));
  EXPECT_TRUE(absl::IsAlreadyExists(state.Validate({Submitted("k", TestSpec(1, 1), "r1")})));
}

TEST(StateTest, AnEndedJobKeepsItsRootCauseAlone) {
  State state;
  ApplyAll(state, Histories()["failed"]);
  const JobRecord& job = *state.FindJob(JobId("j"));
  EXPECT_EQ(job.root_cause().cause(), "it broke");
  EXPECT_FALSE(job.has_last_failure());
}

TEST(StateTest, ABatchIsValidatedInOrder) {
  State state;
  ApplyAll(state, Histories()["starting"]);
  EXPECT_TRUE(state
                  .Validate({Formed("j", 1), CancelRequested("j"), RankGone("j", 1, 0), RankGone("j", 1, 1),
                             Ended("j", v1::JOB_STATE_CANCELLED)})
                  .ok());
  EXPECT_FALSE(state.Validate({Formed("j", 1), Formed("j", 1)}).ok());
  EXPECT_FALSE(state.Validate({Submitted("k", TestSpec(1, 1), "r"), Submitted("l", TestSpec(1, 1), "r")}).ok());
  EXPECT_TRUE(state.Validate({Submitted("k", TestSpec(1, 1)), Started("k", 1, {{"a", 1}})}).ok());
  EXPECT_TRUE(state.Validate({Lost("a", "a1"), RankGone("j", 1, 1), Failed("j", 1)}).ok());
}

TEST(StateTest, ASnapshotThatContradictsItselfIsRefused) {
  State state;
  ApplyAll(state, Histories()["running"]);
  Snapshot twice = state.ToSnapshot();
  *twice.add_jobs() = twice.jobs(0);
  EXPECT_FALSE(State::FromSnapshot(twice).ok());
  Snapshot same_slot = state.ToSnapshot();
  JobRecord& other = *same_slot.add_jobs();
  other = same_slot.jobs(0);
  other.set_job_id("k");
  EXPECT_FALSE(State::FromSnapshot(same_slot).ok());
}

}  // namespace
}  // namespace bert::coordinator
