// Jobs as text.
#ifndef BERT_BERTCTL_JOB_VIEW_H_
#define BERT_BERTCTL_JOB_VIEW_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "bert/v1/checkpoints.pb.h"
#include "bert/v1/jobs.pb.h"

namespace bert::ctl {

std::string JobTable(const std::vector<v1::Job>& jobs, bool wide, absl::Time now, bool color);

// All that is known of one job. Checkpoints newest first, events oldest first.
struct JobDescription {
  v1::Job job;
  std::vector<v1::Checkpoint> checkpoints;
  std::vector<v1::JobEvent> events;
};

// Only the last ten events and five newest checkpoints are shown.
std::string DescribeJob(const JobDescription& description, absl::Time now, bool color);

std::string EventTable(const std::vector<v1::JobEvent>& events, absl::Time now, bool color, int indent = 0);

std::string CheckpointTable(const std::vector<v1::Checkpoint>& checkpoints, bool wide, absl::Time now, bool color,
                            int indent = 0);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_JOB_VIEW_H_
