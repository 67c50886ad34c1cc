// What should happen next: a pure function of the state, of what was observed, and of the time.
//
// The queue is strict. Jobs are served by priority, then submission; a job starts once `workers.min` slots are free at
// the same time, and takes up to `workers.max` of those that are free then. While a job waits, none behind it starts,
// so that small jobs cannot starve a large one. A job that does not even fit on all the registered slots together
// waits without holding up the others. A job in its restart backoff keeps its place.
//
// Without a live dataloader no generation starts: it could only fail.
#ifndef BERT_COORDINATOR_SCHEDULER_H_
#define BERT_COORDINATOR_SCHEDULER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/state.h"

namespace bert::coordinator {

// What the coordinator knows and does not write down.
struct Observations {
  // Nodes whose lease has run out, with the reason in words.
  std::map<NodeName, std::string> expired_nodes;
  // Generations whose ranks have all joined.
  struct Met {
    int64_t generation = 0;
    std::string store_address;
  };
  std::map<JobId, Met> met;
  // Generations that should have met by now: the ranks that have joined.
  struct Overdue {
    int64_t generation = 0;
    std::set<int32_t> joined;
    std::string waited;  // "60s"
  };
  std::map<JobId, Overdue> overdue;
  int live_loaders = 0;
};

struct Decision {
  // Valid in this order. Empty: nothing is to be done now.
  std::vector<Update> updates;
  // Of every active job that is not running, in words.
  std::map<JobId, std::string> reasons;
};

// Decides one round; after its updates have been applied, another may follow from them. Ends after finitely many.
Decision Decide(const State& state, const Observations& observations, int64_t now_us);

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_SCHEDULER_H_
