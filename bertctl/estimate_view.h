// What a job will need, in words.
#ifndef BERT_BERTCTL_ESTIMATE_VIEW_H_
#define BERT_BERTCTL_ESTIMATE_VIEW_H_

#include <cstdint>
#include <string>

#include "bert/v1/job_spec.pb.h"
#include "common/estimate/job_estimate.h"

namespace bert::ctl {

struct EstimateOptions {
  int64_t vocab_size = 30522;  // The dataset's, which only a dataloader knows.
  double device_tflops = 0;    // Of one rank's device; 0: no time is estimated.
  double device_gbytes_per_second = 12;
};

// Of a complete spec, with workers.max ranks.
estimate::JobShape ShapeOf(const v1::JobSpec& spec, const EstimateOptions& options);

// "estimate: 3.59 GB on rank 0 (weights 0.44, ...), 1.2 TFLOP and 2.1 s a step ..."
std::string EstimateText(const v1::JobSpec& spec, const EstimateOptions& options);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_ESTIMATE_VIEW_H_
