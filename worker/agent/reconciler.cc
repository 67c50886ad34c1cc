#include "worker/agent/reconciler.h"

#include <map>
#include <set>

#include "absl/strings/str_cat.h"

namespace bert::agent {

std::string RankKey::ToString() const {
  return absl::StrCat("job=", job_id, " generation=", generation, " rank=", rank);
}

ReconcileActions Reconcile(const std::vector<WantedRank>& wanted, const std::vector<LocalRank>& local) {
  std::map<RankKey, size_t> wanted_index;
  for (size_t i = 0; i < wanted.size(); ++i) wanted_index.emplace(wanted[i].key, i);
  std::map<RankKey, const LocalRank*> known;
  std::set<int32_t> taken_slots;
  for (const LocalRank& rank : local) {
    known.emplace(rank.key, &rank);
    if (rank.phase != RankPhase::kExited) taken_slots.insert(rank.slot);
  }

  ReconcileActions actions;
  for (const auto& [key, index] : wanted_index) {
    if (known.contains(key)) continue;
    if (taken_slots.insert(wanted[index].slot).second) actions.start.push_back(index);
  }
  for (const auto& [key, rank] : known) {
    if (wanted_index.contains(key)) continue;
    if (rank->phase == RankPhase::kRunning) actions.end.push_back(key);
    if (rank->phase == RankPhase::kExited && rank->exit_reported) actions.forget.push_back(key);
  }
  return actions;
}

}  // namespace bert::agent
