// A job's progress in one line.
#ifndef BERT_BERTCTL_PROGRESS_LINE_H_
#define BERT_BERTCTL_PROGRESS_LINE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "bert/v1/jobs.pb.h"

namespace bert::ctl {

// How long a step takes, from the times at which steps were completed: an average that forgets, so that an estimate
// follows the job's present pace. Not thread-safe.
class Pace {
 public:
  // Each job as it is seen. A step that goes back (a resume from a checkpoint) starts afresh.
  void Observe(const v1::Job& job);
  // Nothing before two different steps were seen.
  std::optional<absl::Duration> step_duration() const;

 private:
  int64_t generation_ = 0;
  int64_t step_ = 0;
  absl::Time time_;
  std::optional<double> seconds_per_step_;
};

// "[########------------]  40%  step 240/600  loss 5.1234  8,343 tokens/s  ETA 2m41s" while running, else the state and
// the reason. At most `width` characters; the bar and then the end give way. `width` 0: no limit.
std::string ProgressLine(const v1::Job& job, std::optional<absl::Duration> step_duration, int width);

// What happened between two sights of a job that should stay on the screen: changes of state, restarts with their
// cause, validations, checkpoints. `before` is null at the first sight.
std::vector<std::string> ProgressNotes(const v1::Job* before, const v1::Job& now);

// The last word on an ended job, several lines, with a newline at the end.
std::string EndSummary(const v1::Job& job);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_PROGRESS_LINE_H_
