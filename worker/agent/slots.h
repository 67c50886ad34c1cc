// The places for ranks that a node offers.
#ifndef BERT_WORKER_AGENT_SLOTS_H_
#define BERT_WORKER_AGENT_SLOTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bert/v1/nodes.pb.h"

namespace bert::agent {

// CPU cores that this process may run on (its affinity mask), at least 1.
int UsableCores();

// The share of `cores` for each of `slots`, at least 1.
int ThreadsPerSlot(int cores, int slots);

// `count` CPU slots.
std::vector<v1::Slot> CpuSlots(int count, int threads_per_slot);

// One slot per NVIDIA device file `<dev>/nvidia<number>`, in order of their numbers, named by the driver's files under
// `<driver>/gpus/*/information`. Opens no device. NOT_FOUND, with what to do, where there is none.
absl::StatusOr<std::vector<v1::Slot>> CudaSlots(const std::string& dev = "/dev",
                                                const std::string& driver = "/proc/driver/nvidia");

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_SLOTS_H_
