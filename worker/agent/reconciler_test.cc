#include "worker/agent/reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bert::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const RankKey kFirst{"job-a", 1, 0};
const RankKey kSecond{"job-a", 1, 1};
const RankKey kNextGeneration{"job-a", 2, 0};

LocalRank Local(const RankKey& key, int32_t slot, RankPhase phase, bool exit_reported = false) {
  return {key, slot, phase, exit_reported};
}

struct Case {
  std::string name;
  std::vector<WantedRank> wanted;
  std::vector<LocalRank> local;
  ReconcileActions expected;
};

class ReconcileTest : public testing::TestWithParam<Case> {};

TEST_P(ReconcileTest, Answers) {
  const ReconcileActions actions = Reconcile(GetParam().wanted, GetParam().local);
  EXPECT_EQ(actions.start, GetParam().expected.start);
  EXPECT_EQ(actions.end, GetParam().expected.end);
  EXPECT_EQ(actions.forget, GetParam().expected.forget);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ReconcileTest,
    testing::Values(
        Case{"NothingWantedNothingRuns", {}, {}, {}},
        Case{"StartsWhatIsMissing", {{kFirst, 0}, {kSecond, 1}}, {}, {.start = {0, 1}}},
        Case{"LeavesWhatRuns", {{kFirst, 0}}, {Local(kFirst, 0, RankPhase::kRunning)}, {}},
        Case{"StartsOnlyTheMissingOne",
             {{kFirst, 0}, {kSecond, 1}},
             {Local(kFirst, 0, RankPhase::kRunning)},
             {.start = {1}}},
        Case{"EndsWhatIsNotWanted", {}, {Local(kFirst, 0, RankPhase::kRunning)}, {.end = {kFirst}}},
        Case{"EndsOnce", {}, {Local(kFirst, 0, RankPhase::kEnding)}, {}},
        Case{"DoesNotRestartWhatExited", {{kFirst, 0}}, {Local(kFirst, 0, RankPhase::kExited, true)}, {}},
        Case{"DoesNotRestartWhatIsEnding", {{kFirst, 0}}, {Local(kFirst, 0, RankPhase::kEnding)}, {}},
        Case{"ForgetsWhatWasReported", {}, {Local(kFirst, 0, RankPhase::kExited, true)}, {.forget = {kFirst}}},
        Case{"KeepsAnExitThatIsNotReportedYet", {}, {Local(kFirst, 0, RankPhase::kExited, false)}, {}},
        Case{"NextGenerationWaitsForItsSlot",
             {{kNextGeneration, 0}},
             {Local(kFirst, 0, RankPhase::kRunning)},
             {.end = {kFirst}}},
        Case{"NextGenerationWaitsForTheEnd", {{kNextGeneration, 0}}, {Local(kFirst, 0, RankPhase::kEnding)}, {}},
        Case{"NextGenerationTakesTheSlotOfAnExit",
             {{kNextGeneration, 0}},
             {Local(kFirst, 0, RankPhase::kExited, true)},
             {.start = {0}, .forget = {kFirst}}},
        Case{"OneRankPerSlot", {{kSecond, 0}, {kFirst, 0}}, {}, {.start = {1}}},
        Case{"NamedTwiceStartsOnce", {{kFirst, 0}, {kFirst, 0}}, {}, {.start = {0}}}),
    [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

TEST(ReconcileOrderTest, FollowsTheKeysAndNotTheAnswer) {
  const ReconcileActions actions =
      Reconcile({{kNextGeneration, 1}, {kFirst, 0}},
                {Local({"job-c", 1, 0}, 3, RankPhase::kRunning), Local({"job-b", 1, 0}, 2, RankPhase::kRunning)});
  EXPECT_THAT(actions.start, ElementsAre(1, 0));
  EXPECT_THAT(actions.end, ElementsAre(RankKey{"job-b", 1, 0}, RankKey{"job-c", 1, 0}));
  EXPECT_THAT(actions.forget, IsEmpty());
}

}  // namespace
}  // namespace bert::agent
