// Records as the API shows them.
#ifndef BERT_COORDINATOR_JOB_VIEW_H_
#define BERT_COORDINATOR_JOB_VIEW_H_

#include <string>
#include <utility>
#include <vector>

#include "bert/v1/jobs.pb.h"
#include "common/ids.h"
#include "coordinator/history_sink.h"
#include "coordinator/state.h"

namespace bert::coordinator {

// `reason` is used while the job is active; `progress` may be nullptr.
v1::Job ToJob(const JobRecord& record, const std::string& reason, const JobProgress* progress);

// What people are told when `update` is applied to `before`.
std::vector<std::pair<JobId, v1::JobEvent>> EventsOf(const State& before, const Update& update);

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_JOB_VIEW_H_
