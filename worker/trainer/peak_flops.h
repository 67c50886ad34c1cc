// What a device could do at most.
#ifndef BERT_WORKER_TRAINER_PEAK_FLOPS_H_
#define BERT_WORKER_TRAINER_PEAK_FLOPS_H_

#include "absl/strings/string_view.h"
#include "worker/model/model_config.h"

namespace bert::trainer {

// Floating-point operations a second of this process's device. A CPU's is measured, by products of large square
// matrices on the threads that training uses (a tenth of a second); where ranks share a machine, call it on all of them
// at once. A GPU's is its maker's figure; 0 for one that is not in the table.
double PeakFlops(bool cuda, model::Precision precision);

// Dense bf16 products on tensor cores (fp32: without them), from the maker's data sheets; 0: no such device known.
double GpuPeakFlops(absl::string_view device_name, model::Precision precision);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_PEAK_FLOPS_H_
