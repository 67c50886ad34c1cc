#include "worker/agent/trainer_command.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "worker/agent/trainer_exec.h"

namespace bert::agent {

Process::Options TrainerCommand(const TrainerFlags& flags, const v1::Assignment& assignment,
                                const std::string& assignment_file) {
  std::vector<std::string> argv = {flags.trainer,   "--coordinator",     flags.coordinator,          "--assignment",
                                   assignment_file, "--checkpoint-root", flags.checkpoint_root,      "--node",
                                   flags.node,      "--threads",         absl::StrCat(flags.threads)};
  if (!flags.address.empty()) argv.insert(argv.end(), {"--address", flags.address});
  argv.insert(argv.end(), flags.credentials.begin(), flags.credentials.end());

  std::vector<std::string> changes = {absl::StrCat("OMP_NUM_THREADS=", flags.threads)};
  if (assignment.device() == v1::DEVICE_KIND_CUDA) {
    changes.push_back(absl::StrCat("CUDA_VISIBLE_DEVICES=", flags.devices.at(assignment.slot())));
    // The order of the device files, in which they are numbered; CUDA's own is by speed.
    changes.push_back("CUDA_DEVICE_ORDER=PCI_BUS_ID");
    // Without it Torch refuses products where it shall be deterministic: cuBLAS could divide them differently each
    // time.
    if (assignment.spec().deterministic()) changes.push_back("CUBLAS_WORKSPACE_CONFIG=:4096:8");
  } else {
    changes.push_back("CUDA_VISIBLE_DEVICES=");
  }
  return {.argv = ExecTrainerCommand(flags.worker, argv), .environment = EnvironmentWith(changes)};
}

absl::Status CheckAssignment(const v1::Assignment& assignment, const std::vector<v1::Slot>& slots) {
  const std::string& id = assignment.job_id();
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  };
  if (id.empty() || !std::all_of(id.begin(), id.end(), allowed)) {
    return absl::InvalidArgumentError(absl::StrCat("job id '", id, "' cannot name a file: use letters, digits and -"));
  }
  const auto slot = std::find_if(slots.begin(), slots.end(),
                                 [&](const v1::Slot& candidate) { return candidate.index() == assignment.slot(); });
  if (slot == slots.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("this node has no slot ", assignment.slot(), "; it offers ", slots.size()));
  }
  if (slot->device() != assignment.device()) {
    return absl::InvalidArgumentError(absl::StrCat("slot ", assignment.slot(), " is ",
                                                   v1::DeviceKind_Name(slot->device()), ", not ",
                                                   v1::DeviceKind_Name(assignment.device())));
  }
  return absl::OkStatus();
}

}  // namespace bert::agent
