#include "coordinator/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/test_updates.h"

namespace bert::coordinator {
namespace {

using testing::HasSubstr;

State Built(const std::vector<Update>& updates) {
  State state;
  for (const Update& update : updates) {
    const absl::Status status = state.Apply(update);
    EXPECT_TRUE(status.ok()) << status << "\n" << update.DebugString();
  }
  return state;
}

Observations OneLoader() {
  Observations observations;
  observations.live_loaders = 1;
  return observations;
}

// Applies decisions until there are none; returns the last one.
Decision Settle(State& state, const Observations& observations, int64_t now_us = 0) {
  for (int round = 0; round < 100; ++round) {
    Decision decision = Decide(state, observations, now_us);
    if (decision.updates.empty()) return decision;
    EXPECT_TRUE(state.Validate(decision.updates).ok()) << state.Validate(decision.updates);
    for (const Update& update : decision.updates) EXPECT_TRUE(state.Apply(update).ok()) << update.DebugString();
  }
  ADD_FAILURE() << "does not settle";
  return {};
}

v1::JobState StateOf(const State& state, const std::string& job) { return state.FindJob(JobId(job))->state(); }

TEST(SchedulerTest, AJobWaitsWithItsReason) {
  State state = Built({Submitted("j", TestSpec(2, 2))});
  EXPECT_EQ(Settle(state, OneLoader()).reasons[JobId("j")], "needs 2 slots, 0 free; no node registered");
  state = Built({Submitted("j", TestSpec(2, 2)), Registered("a", "a1", 1)});
  EXPECT_EQ(Settle(state, OneLoader()).reasons[JobId("j")], "needs 2 slots, 1 free; all nodes together have 1");
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_PENDING);
  state = Built({Submitted("j", TestSpec(2, 2)), Registered("a", "a1", 2)});
  EXPECT_THAT(Settle(state, Observations()).reasons[JobId("j")], HasSubstr("no dataloader"));
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_PENDING);
}

TEST(SchedulerTest, AGangTakesUpToMaxPackedByNode) {
  State state = Built({Registered("b", "b1", 2), Registered("a", "a1", 2), Submitted("j", TestSpec(2, 3)),
                       Submitted("k", TestSpec(1, 1))});
  Settle(state, OneLoader());
  const JobRecord& job = *state.FindJob(JobId("j"));
  ASSERT_EQ(job.ranks_size(), 3);
  EXPECT_EQ(job.ranks(0).placement().node(), "a");
  EXPECT_EQ(job.ranks(1).placement().node(), "a");
  EXPECT_EQ(job.ranks(2).placement().node(), "b");
  EXPECT_EQ(StateOf(state, "k"), v1::JOB_STATE_STARTING);
}

TEST(SchedulerTest, NobodyOvertakesAJobThatWaits) {
  State state = Built({Registered("a", "a1", 3), Submitted("small", TestSpec(2, 2)), Submitted("large", TestSpec(3, 3)),
                       Submitted("late", TestSpec(1, 1))});
  Decision decision = Settle(state, OneLoader());
  EXPECT_EQ(StateOf(state, "small"), v1::JOB_STATE_STARTING);
  EXPECT_EQ(decision.reasons[JobId("large")], "needs 3 slots, 1 free");
  EXPECT_THAT(decision.reasons[JobId("late")], HasSubstr("waits behind job large"));
}

TEST(SchedulerTest, AJobThatFitsNowhereHoldsUpNobody) {
  State state = Built({Registered("a", "a1", 2), Submitted("huge", TestSpec(8, 8, 5)), Submitted("j", TestSpec(1, 1))});
  Decision decision = Settle(state, OneLoader());
  EXPECT_THAT(decision.reasons[JobId("huge")], HasSubstr("all nodes together have 2"));
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_STARTING);
}

TEST(SchedulerTest, PriorityGoesBeforeSubmission) {
  State state =
      Built({Registered("a", "a1", 1), Submitted("first", TestSpec(1, 1)), Submitted("urgent", TestSpec(1, 1, 10))});
  Settle(state, OneLoader());
  EXPECT_EQ(StateOf(state, "urgent"), v1::JOB_STATE_STARTING);
  EXPECT_EQ(StateOf(state, "first"), v1::JOB_STATE_PENDING);
}

TEST(SchedulerTest, ALostNodeFailsTheGenerationAndTheNextOneWaits) {
  State state = Built({Registered("a", "a1", 1), Registered("b", "b1", 1), Submitted("j", TestSpec(1, 2)),
                       Started("j", 1, {{"a", 0}, {"b", 0}}), Formed("j", 1)});
  Observations observations = OneLoader();
  observations.expired_nodes[NodeName("a")] = "no heartbeat for 3s";
  const int64_t now = 1'000'000'000;
  Decision decision = Settle(state, observations, now);
  const JobRecord& job = *state.FindJob(JobId("j"));
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.root_cause().cause(), "rank 0 on node a is gone: no heartbeat for 3s");
  EXPECT_THAT(decision.reasons[JobId("j")], HasSubstr("waits until rank 1 of generation 1 has ended"));
  ASSERT_TRUE(state.Apply(RankGone("j", 1, 1, 3)).ok());
  EXPECT_THAT(Settle(state, OneLoader(), now).reasons[JobId("j")], HasSubstr("restarts after a pause"));
  Settle(state, OneLoader(), now + 1'000'000);
  EXPECT_EQ(job.state(), v1::JOB_STATE_STARTING);
  EXPECT_EQ(job.generation(), 2);
  EXPECT_EQ(job.ranks_size(), 1);
}

TEST(SchedulerTest, AClockSetBackDoesNotHoldARestart) {
  State state = Built({Registered("a", "a1", 1), Submitted("j", TestSpec(1, 1)), Started("j", 1, {{"a", 0}}),
                       Failed("j", 1, "it broke", false, 5'000'000'000'000), RankGone("j", 1, 0, 1)});
  Settle(state, OneLoader(), 1'000'000);
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_STARTING);
}

TEST(SchedulerTest, ARendezvousThatTakesTooLongNamesWhoIsMissing) {
  State state = Built(
      {Registered("a", "a1", 3), Submitted("j", TestSpec(3, 3)), Started("j", 1, {{"a", 0}, {"a", 1}, {"a", 2}})});
  Observations observations = OneLoader();
  observations.overdue[JobId("j")] = {1, {0}, "60s"};
  Settle(state, observations);
  EXPECT_EQ(state.FindJob(JobId("j"))->root_cause().cause(),
            "ranks 1, 2 of 3 did not join the rendezvous within 60s (rank 1 is on node a)");
}

TEST(SchedulerTest, ALostNodeExplainsASecondaryFailure) {
  State state = Built({Registered("a", "a1", 1), Registered("b", "b1", 1), Submitted("j", TestSpec(2, 2)),
                       Started("j", 1, {{"a", 0}, {"b", 0}}), Formed("j", 1), RankGone("j", 1, 0, 3),
                       Failed("j", 1, "rank 0 on node a exited with code 3", /*secondary=*/true)});
  Observations observations = OneLoader();
  observations.expired_nodes[NodeName("b")] = "no heartbeat for 3s";
  Settle(state, observations);
  EXPECT_EQ(state.FindJob(JobId("j"))->root_cause().cause(), "rank 1 on node b is gone: no heartbeat for 3s");
}

TEST(SchedulerTest, TooManyFailuresWithoutProgressEndTheJob) {
  State state = Built({Registered("a", "a1", 1), Submitted("j", TestSpec(1, 1))});
  for (int64_t generation = 1; generation <= 4; ++generation) {
    Settle(state, OneLoader());
    ASSERT_EQ(StateOf(state, "j"), v1::JOB_STATE_STARTING) << generation;
    ASSERT_TRUE(state.Apply(RankGone("j", generation, 0, 1)).ok());
    ASSERT_TRUE(state.Apply(Failed("j", generation, absl::StrCat("cause ", generation))).ok());
  }
  Settle(state, OneLoader());
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_FAILED);
  EXPECT_THAT(state.FindJob(JobId("j"))->reason(),
              testing::AllOf(HasSubstr("failed 4 times in a row"), HasSubstr("cause 1")));
}

TEST(SchedulerTest, TheWholeNumberOfRestartsIsBounded) {
  v1::JobSpec spec = TestSpec(1, 1);
  spec.mutable_restarts()->set_max(1);
  State state = Built({Registered("a", "a1", 1), Submitted("j", spec)});
  for (int64_t generation = 1; generation <= 2; ++generation) {
    Settle(state, OneLoader());
    ASSERT_TRUE(state.Apply(Formed("j", generation)).ok());
    ASSERT_TRUE(state.Apply(Committed("j", generation, generation)).ok());
    ASSERT_TRUE(state.Apply(RankGone("j", generation, 0, 1)).ok());
    ASSERT_TRUE(state.Apply(Failed("j", generation)).ok());
  }
  Settle(state, OneLoader());
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_FAILED);
}

TEST(SchedulerTest, CancellingEndsOnceTheRanksHave) {
  State state = Built({Registered("a", "a1", 1), Submitted("j", TestSpec(1, 1)), Submitted("k", TestSpec(1, 1)),
                       Started("j", 1, {{"a", 0}}), CancelRequested("j"), CancelRequested("k")});
  Settle(state, OneLoader());
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(StateOf(state, "k"), v1::JOB_STATE_CANCELLED);
  ASSERT_TRUE(state.Apply(RankGone("j", 1, 0, 143)).ok());
  Settle(state, OneLoader());
  EXPECT_EQ(StateOf(state, "j"), v1::JOB_STATE_CANCELLED);
}

// Whatever the cluster looks like: decisions are valid, settle, are the same for the same input, and serve the queue
// in order.
TEST(SchedulerTest, RandomClustersAreServedInOrder) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 generator(seed);
    const auto below = [&](int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(generator); };
    State state;
    int64_t slots = 0;
    for (int i = 0; i < 1 + below(4); ++i) {
      const int of_node = below(5);
      slots += of_node;
      ASSERT_TRUE(state.Apply(Registered(absl::StrCat("n", i), "x", of_node)).ok());
    }
    for (int i = 0; i < 1 + below(8); ++i) {
      const int min = 1 + below(6);
      ASSERT_TRUE(state.Apply(Submitted(absl::StrCat("j", i), TestSpec(min, min + below(4), below(3)))).ok());
    }
    const State before = state;
    Settle(state, OneLoader());
    State again = before;
    Settle(again, OneLoader());
    EXPECT_EQ(state.ToSnapshot().SerializeAsString(), again.ToSnapshot().SerializeAsString());
    // A plain second implementation of the queue.
    int64_t free = slots;
    bool blocked = false;
    for (const JobRecord* job : before.ActiveJobs()) {
      const int64_t min = job->spec().workers().min();
      int64_t ranks = 0;
      if (min <= slots && !blocked) {
        blocked = min > free;
        if (!blocked) ranks = std::min<int64_t>(free, job->spec().workers().max());
      }
      free -= ranks;
      EXPECT_EQ(state.FindJob(JobId(job->job_id()))->ranks_size(), ranks) << job->job_id();
    }
  }
}

}  // namespace
}  // namespace bert::coordinator
