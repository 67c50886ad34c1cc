// A job as a coordinator would describe it, for tests.
#ifndef BERT_BERTCTL_EXAMPLE_JOB_H_
#define BERT_BERTCTL_EXAMPLE_JOB_H_

#include "absl/time/time.h"
#include "bert/v1/jobs.pb.h"

namespace bert::ctl {

// 2026-01-02 03:04:05 UTC; the example was submitted five minutes before.
absl::Time ExampleNow();

google::protobuf::Timestamp ExampleTime(absl::Duration before_now);

// Runs its second generation of two ranks, at step 240 of 600.
v1::Job ExampleJob();

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_EXAMPLE_JOB_H_
