#include "worker/agent/slots.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/files.h"
#include "common/status_macros.h"

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

struct DriverEntry {
  int minor = -1;
  std::string model;
  std::string uuid;
};

// A container may hide these files; then there are none.
std::vector<DriverEntry> DriverEntries(const std::string& driver) {
  std::vector<DriverEntry> entries;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(driver + "/gpus", error)) {
    const absl::StatusOr<std::string> content = ReadFile(entry.path().string() + "/information");
    if (!content.ok()) continue;
    DriverEntry found;
    for (absl::string_view line : absl::StrSplit(*content, '\n')) {
      const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, absl::MaxSplits(':', 1));
      const absl::string_view value = absl::StripAsciiWhitespace(field.second);
      if (field.first == "Model") found.model = std::string(value);
      if (field.first == "GPU UUID") found.uuid = std::string(value);
      if (field.first == "Device Minor" && !absl::SimpleAtoi(value, &found.minor)) found.minor = -1;
    }
    entries.push_back(std::move(found));
  }
  return entries;
}

template <typename Matches>
std::string ModelWhere(const std::vector<DriverEntry>& entries, Matches matches) {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const DriverEntry& entry) { return !entry.model.empty() && matches(entry); });
  return found == entries.end() ? "NVIDIA device" : found->model;
}

absl::Status NoDevice(absl::string_view why) {
  return absl::NotFoundError(absl::StrCat(why,
                                          ": give --cpu-slots N to train on this machine's processors, or make the "
                                          "devices visible to this process"));
}

// `entry` of CUDA_VISIBLE_DEVICES.
absl::StatusOr<CudaDevice> VisibleDevice(const std::string& entry, const std::vector<int>& minors,
                                         const std::vector<DriverEntry>& entries) {
  if (absl::StartsWith(entry, "GPU-") || absl::StartsWith(entry, "MIG-")) {
    // As CUDA does, takes the beginning of a UUID for it.
    const auto matches = [&](const DriverEntry& of_driver) { return absl::StartsWith(of_driver.uuid, entry); };
    return CudaDevice{.visible = entry, .description = ModelWhere(entries, matches)};
  }
  int number = -1;
  if (!absl::SimpleAtoi(entry, &number) || number < 0 || number >= static_cast<int>(minors.size())) {
    return absl::InvalidArgumentError(absl::StrCat("CUDA_VISIBLE_DEVICES names '", entry, "'; the ", minors.size(),
                                                   " NVIDIA devices here are 0 to ", minors.size() - 1,
                                                   ", or called by UUID"));
  }
  const int minor = minors[static_cast<size_t>(number)];
  return CudaDevice{.visible = absl::StrCat(number),
                    .description = ModelWhere(entries, [&](const DriverEntry& e) { return e.minor == minor; })};
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

absl::StatusOr<std::vector<CudaDevice>> FindCudaDevices(const std::optional<std::string>& visible,
                                                        const std::string& dev, const std::string& driver) {
  const std::vector<int> minors = DeviceMinors(dev);
  if (minors.empty()) return NoDevice(absl::StrCat("no NVIDIA device under ", dev, " (nvidia0, ...)"));
  std::vector<std::string> wanted;
  if (visible.has_value()) {
    for (absl::string_view entry : absl::StrSplit(*visible, ',')) {
      wanted.emplace_back(absl::StripAsciiWhitespace(entry));
    }
    // How CUDA is told to show none.
    if (wanted.front().empty() || wanted.front() == "-1" || wanted.front() == "NoDevFiles") {
      return NoDevice(absl::StrCat("CUDA_VISIBLE_DEVICES is '", *visible, "', which hides all NVIDIA devices"));
    }
  } else {
    // CUDA numbers the devices it sees from 0, also where a container holds only the later ones.
    for (size_t number = 0; number < minors.size(); ++number) wanted.push_back(absl::StrCat(number));
  }
  const std::vector<DriverEntry> entries = DriverEntries(driver);
  std::vector<CudaDevice> devices;
  for (const std::string& entry : wanted) {
    ASSIGN_OR_RETURN(CudaDevice device, VisibleDevice(entry, minors, entries));
    const bool again = std::any_of(devices.begin(), devices.end(),
                                   [&](const CudaDevice& other) { return other.visible == device.visible; });
    if (again) return absl::InvalidArgumentError(absl::StrCat("CUDA_VISIBLE_DEVICES names '", entry, "' twice"));
    devices.push_back(std::move(device));
  }
  return devices;
}

std::vector<v1::Slot> CudaSlots(const std::vector<CudaDevice>& devices) {
  std::vector<v1::Slot> slots;
  for (const CudaDevice& device : devices) {
    v1::Slot slot;
    slot.set_index(static_cast<int>(slots.size()));
    slot.set_device(v1::DEVICE_KIND_CUDA);
    slot.set_description(device.description);
    slots.push_back(std::move(slot));
  }
  return slots;
}

}  // namespace bert::agent
