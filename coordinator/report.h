// From what an agent reports to what is to be written down.
#ifndef BERT_COORDINATOR_REPORT_H_
#define BERT_COORDINATOR_REPORT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "bert/v1/worker.pb.h"
#include "coordinator/membership.h"
#include "coordinator/state.h"

namespace bert::coordinator {

// The rank's generation is live and its job is to go on: its agent should run it.
bool IsWanted(const JobRecord& job);

// Every rank that the report shows to have ended, and what follows for its generation. A rank has ended
//  - when it is reported EXITED;
//  - when it was reported before and is missing now;
//  - when it is not wanted any more and is missing, whether it ever ran or not.
// The last two only from a report that is news (NodeSession::IsNews). A wanted rank that ends badly fails its
// generation.
//
// `told_to_end` answers whether the agent may have ended a job's ranks itself: such an end is nobody's cause.
std::vector<Update> EndsInReport(const State& state, const NodeSession& session, const v1::HeartbeatRequest& request,
                                 bool is_news, const std::function<bool(const JobRecord&)>& told_to_end,
                                 int64_t now_us);

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_REPORT_H_
