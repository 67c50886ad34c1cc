// How the ranks of one job do, as they said last.
#ifndef BERT_COORDINATOR_JOB_HEALTH_H_
#define BERT_COORDINATOR_JOB_HEALTH_H_

#include <cstdint>
#include <map>
#include <string>

#include "bert/v1/jobs.pb.h"
#include "bert/v1/worker.pb.h"

namespace bert::coordinator {

// Of this process's life: ranks tell it again. Not thread-safe.
class JobHealth {
 public:
  // What a report tells that none before it told.
  struct News {
    bool any = false;  // Anything that a view shows.
    int64_t skipped_steps = 0;
    std::string early_end;
  };
  // `report` is of the job's live generation and of one of its ranks.
  News Take(const v1::ReportProgressRequest& report);

  // Ranks of `generation` only.
  void FillIn(int64_t generation, v1::Job& job) const;
  const std::map<int32_t, v1::RankHealth>& ranks(int64_t generation) const;

 private:
  int64_t generation_ = 0;
  std::map<int32_t, v1::RankHealth> ranks_;
  // All ranks skip the same steps.
  int64_t generation_skipped_steps_ = 0;
  int64_t earlier_skipped_steps_ = 0;
  std::string early_end_;
};

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_JOB_HEALTH_H_
