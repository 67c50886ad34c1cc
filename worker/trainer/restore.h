// Weights and moments to begin with: new ones, or those of the newest good checkpoint.
#ifndef BERT_WORKER_TRAINER_RESTORE_H_
#define BERT_WORKER_TRAINER_RESTORE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/collective/collective.h"
#include "worker/model/masked_lm.h"
#include "worker/trainer/adamw.h"
#include "worker/trainer/assignment.h"
#include "worker/trainer/checkpoint.h"

namespace bert::trainer {

// Rank 0 initializes from the seed, or loads the newest of `resume_points` (newest first) that is wholly what was
// committed; each damaged one is logged with the file that is damaged. Then all ranks get its weights and moments, so
// that only rank 0 has to see the directory. Returns the completed steps.
//
// DATA_LOSS: there are resume points and all are damaged; training anew would lose what they stood for without a word.
// FAILED_PRECONDITION: the checkpoint is of another model or training than `wanted`. UNAVAILABLE: a peer is lost (on
// the other ranks also where rank 0 fails).
absl::StatusOr<int64_t> Restore(const std::vector<ResumePoint>& resume_points, const TrainingState& wanted,
                                model::MaskedLm& model, AdamW& optimizer, collective::Collective& group);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_RESTORE_H_
