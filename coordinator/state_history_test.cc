// Random histories: what the journal gives back is what was in memory.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/memory_journal.h"
#include "coordinator/state.h"
#include "coordinator/test_updates.h"

namespace bert::coordinator {
namespace {

// Any update on a few jobs and nodes, most of them not allowed at the time.
class RandomUpdates {
 public:
  explicit RandomUpdates(uint64_t seed) : generator_(seed) {}

  int Below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(generator_); }

  Update Next(const State& state) {
    const std::string job = absl::StrCat("j", Below(4));
    const std::string node(1, static_cast<char>('a' + Below(3)));
    const JobRecord* const record = state.FindJob(JobId(job));
    // Mostly the right generation, sometimes the one before or after.
    const int64_t generation = (record == nullptr ? 0 : record->generation()) + (Below(8) == 0 ? Below(3) - 1 : 0);
    switch (Below(12)) {
      case 0:
        return Submitted(job, TestSpec(1, 2, Below(3)), absl::StrCat("r", Below(8)));
      case 1:
        return Below(4) == 0 ? CancelRequested(job) : Formed(job, generation);
      case 2:
      case 3: {
        std::vector<std::pair<std::string, int32_t>> slots;
        for (int i = 0; i <= Below(2); ++i)
          slots.emplace_back(std::string(1, static_cast<char>('a' + Below(3))), Below(3));
        return Started(job, generation + 1, slots);
      }
      case 4:
        return Formed(job, generation);
      case 5:
      case 6:
        return RankGone(job, generation, Below(2), Below(2), Below(3) == 0 ? 9 : 0);
      case 7:
        return Below(2) == 0 ? Failed(job, generation, "broke", Below(2) == 0) : Amended(job, generation, "cause");
      case 8:
        return Ended(job, static_cast<v1::JobState>(Below(8)));
      case 9: {
        std::vector<int64_t> dropped;
        if (record != nullptr && record->checkpoints_size() > 1) dropped.push_back(record->checkpoints(0).step());
        return Committed(job, generation, 1 + Below(20), dropped);
      }
      case 10:
        return Registered(node, absl::StrCat(node, incarnations_++), 1 + Below(3));
      default:
        return Lost(node,
                    state.FindNode(NodeName(node)) == nullptr ? "x" : state.FindNode(NodeName(node))->incarnation());
    }
  }

 private:
  std::mt19937_64 generator_;
  int incarnations_ = 0;
};

void CheckNoSlotTwice(const State& state) {
  std::set<std::pair<std::string, int32_t>> held;
  for (const auto& [id, job] : state.jobs()) {
    for (const RankRecord& rank : job.ranks()) {
      if (rank.ended()) continue;
      EXPECT_TRUE(held.emplace(rank.placement().node(), rank.placement().slot()).second) << id.value();
      EXPECT_EQ(state.HeldSlots(NodeName(rank.placement().node())).at(rank.placement().slot()).job, id);
    }
  }
  size_t indexed = 0;
  for (const auto& [name, node] : state.nodes()) indexed += state.HeldSlots(name).size();
  EXPECT_EQ(indexed, held.size());
}

TEST(StateHistoryTest, ReplayEqualsMemory) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomUpdates random(seed);
    MemoryDisk disk;
    MemoryJournal journal(&disk);
    auto recovered = journal.Load();
    ASSERT_TRUE(recovered.ok());
    State state;
    int applied = 0;
    for (int i = 0; i < 400; ++i) {
      const Update update = random.Next(state);
      const bool valid = state.Validate({update}).ok();
      State copy = state;
      ASSERT_EQ(copy.Apply(update).ok(), valid) << update.DebugString();
      if (!valid) continue;
      ASSERT_TRUE(journal.Append(recovered->epoch, {update}).ok());
      ASSERT_TRUE(state.Apply(update).ok());
      ++applied;
      CheckNoSlotTwice(state);
      if (random.Below(40) == 0) {
        ASSERT_TRUE(journal.Compact(recovered->epoch, state.ToSnapshot()).ok());
      }
    }
    EXPECT_GT(applied, 20);
    const auto again = journal.Load();
    ASSERT_TRUE(again.ok());
    auto replayed = State::FromSnapshot(again->snapshot);
    ASSERT_TRUE(replayed.ok()) << replayed.status();
    for (const Update& update : again->updates) ASSERT_TRUE(replayed->Apply(update).ok());
    EXPECT_EQ(replayed->ToSnapshot().SerializeAsString(), state.ToSnapshot().SerializeAsString());
    CheckNoSlotTwice(*replayed);
    ASSERT_EQ(replayed->ActiveJobs().size(), state.ActiveJobs().size());
    for (size_t i = 0; i < state.ActiveJobs().size(); ++i) {
      EXPECT_EQ(replayed->ActiveJobs()[i]->job_id(), state.ActiveJobs()[i]->job_id());
    }
  }
}

}  // namespace
}  // namespace bert::coordinator
