// The places for ranks that a node offers.
#ifndef BERT_WORKER_AGENT_SLOTS_H_
#define BERT_WORKER_AGENT_SLOTS_H_

#include <optional>
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

struct CudaDevice {
  std::string visible;      // What shows it alone as CUDA_VISIBLE_DEVICES, with CUDA_DEVICE_ORDER=PCI_BUS_ID.
  std::string description;  // Its model where that is known.
};

// The NVIDIA devices that this process may use: those that `visible`, its CUDA_VISIBLE_DEVICES, names by number (in the
// order of the bus, from 0) or UUID, in that order; without it all. Devices are the files `<dev>/nvidia<number>`, their
// models stand in `<driver>/gpus/*/information`. Opens none. NOT_FOUND, with what to do, where there is none.
// INVALID_ARGUMENT: `visible` names one that is not there, or one twice.
absl::StatusOr<std::vector<CudaDevice>> FindCudaDevices(const std::optional<std::string>& visible,
                                                        const std::string& dev = "/dev",
                                                        const std::string& driver = "/proc/driver/nvidia");

// One slot for each.
std::vector<v1::Slot> CudaSlots(const std::vector<CudaDevice>& devices);

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_SLOTS_H_
