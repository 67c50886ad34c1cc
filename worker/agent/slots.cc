#include "worker/agent/slots.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/files.h"

namespace bert::agent {
namespace {

namespace fs = std::filesystem;

std::vector<int> DeviceMinors(const std::string& dev) {
  std::vector<int> minors;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(dev, error)) {
    const std::string name = entry.path().filename().string();
    int minor = 0;
    // nvidiactl, nvidia-uvm and their like are no devices.
    if (absl::StartsWith(name, "nvidia") && absl::SimpleAtoi(name.substr(6), &minor)) minors.push_back(minor);
  }
  std::sort(minors.begin(), minors.end());
  return minors;
}

// Model by device minor. A container may hide these files; then the map is empty.
std::map<int, std::string> ModelNames(const std::string& driver) {
  std::map<int, std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(driver + "/gpus", error)) {
    const absl::StatusOr<std::string> content = ReadFile(entry.path().string() + "/information");
    if (!content.ok()) continue;
    std::string model;
    int minor = -1;
    for (absl::string_view line : absl::StrSplit(*content, '\n')) {
      const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, absl::MaxSplits(':', 1));
      const absl::string_view value = absl::StripAsciiWhitespace(field.second);
      if (field.first == "Model") model = std::string(value);
      if (field.first == "Device Minor" && !absl::SimpleAtoi(value, &minor)) minor = -1;
    }
    if (minor >= 0 && !model.empty()) names[minor] = model;
  }
  return names;
}

}  // namespace

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int ThreadsPerSlot(int cores, int slots) { return std::max(1, cores / std::max(1, slots)); }

std::vector<v1::Slot> CpuSlots(int count, int threads_per_slot) {
  std::vector<v1::Slot> slots;
  for (int index = 0; index < count; ++index) {
    v1::Slot slot;
    slot.set_index(index);
    slot.set_device(v1::DEVICE_KIND_CPU);
    slot.set_description(absl::StrCat(threads_per_slot, threads_per_slot == 1 ? " thread" : " threads"));
    slots.push_back(std::move(slot));
  }
  return slots;
}

absl::StatusOr<std::vector<v1::Slot>> CudaSlots(const std::string& dev, const std::string& driver) {
  const std::vector<int> minors = DeviceMinors(dev);
  if (minors.empty()) {
    return absl::NotFoundError(absl::StrCat("no NVIDIA device under ", dev,
                                            " (nvidia0, ...): give --cpu-slots N to train on this machine's "
                                            "processors, or make the devices visible to this process"));
  }
  const std::map<int, std::string> names = ModelNames(driver);
  std::vector<v1::Slot> slots;
  for (const int minor : minors) {
    v1::Slot slot;
    // CUDA numbers the devices it sees from 0, also where a container holds only the later ones.
    slot.set_index(static_cast<int>(slots.size()));
    slot.set_device(v1::DEVICE_KIND_CUDA);
    const auto name = names.find(minor);
    slot.set_description(name == names.end() ? "NVIDIA device" : name->second);
    slots.push_back(std::move(slot));
  }
  return slots;
}

}  // namespace bert::agent
