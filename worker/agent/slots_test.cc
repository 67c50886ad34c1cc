#include "worker/agent/slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/files.h"

namespace bert::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CudaDevicesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(MakeDirectories(dev_).ok());
    ASSERT_TRUE(MakeDirectories(driver_).ok());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(root_).ok()); }

  void AddDevice(const std::string& name) { ASSERT_TRUE(WriteFile(dev_ + "/" + name, "").ok()); }
  void AddInformation(const std::string& bus, const std::string& content) {
    ASSERT_TRUE(MakeDirectories(driver_ + "/gpus/" + bus).ok());
    ASSERT_TRUE(WriteFile(driver_ + "/gpus/" + bus + "/information", content).ok());
  }

  // nvidia2 and nvidia10, of which the driver describes the second.
  void AddTwoDevices() {
    for (const char* name : {"nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"}) {
      AddDevice(name);
    }
    AddInformation("0000:41:00.0",
                   "Model: \t\t NVIDIA H200\nIRQ:   \t\t 208\nGPU UUID: \t GPU-3f2a\nBus Type: \t PCIe\n"
                   "Bus Location: \t 0000:41:00.0\nDevice Minor: \t 10\nGPU Firmware: \t 570.1\n");
  }
  static std::vector<std::string> Visible(const std::vector<CudaDevice>& devices) {
    std::vector<std::string> visible;
    for (const CudaDevice& device : devices) visible.push_back(device.visible);
    return visible;
  }

  const std::string root_ = absl::StrCat(testing::TempDir(), "/slots_test.", getpid());
  const std::string dev_ = root_ + "/dev";
  const std::string driver_ = root_ + "/driver";
};

TEST_F(CudaDevicesTest, AllInOrder) {
  AddTwoDevices();
  const auto devices = FindCudaDevices(std::nullopt, dev_, driver_);
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_THAT(Visible(*devices), ElementsAre("0", "1"));
  const auto slots = CudaSlots(*devices);
  ASSERT_EQ(slots.size(), 2u);
  EXPECT_EQ(slots[0].index(), 0);
  EXPECT_EQ(slots[0].device(), v1::DEVICE_KIND_CUDA);
  EXPECT_EQ(slots[0].description(), "NVIDIA device");
  EXPECT_EQ(slots[1].index(), 1);
  EXPECT_EQ(slots[1].description(), "NVIDIA H200");
}

TEST_F(CudaDevicesTest, ThoseTheEnvironmentShowsInItsOrder) {
  AddTwoDevices();
  AddDevice("nvidia11");
  const auto devices = FindCudaDevices("2, GPU-3f,MIG-7,0", dev_, driver_);
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_THAT(Visible(*devices), ElementsAre("2", "GPU-3f", "MIG-7", "0"));
  EXPECT_EQ((*devices)[1].description, "NVIDIA H200");
  EXPECT_EQ((*devices)[3].description, "NVIDIA device");
}

TEST_F(CudaDevicesTest, RefusesWhatIsNotThere) {
  AddTwoDevices();
  for (const char* visible : {"2", "0,5", "-2", "0,", "first", "1,0,1"}) {
    const auto devices = FindCudaDevices(visible, dev_, driver_);
    EXPECT_EQ(devices.status().code(), absl::StatusCode::kInvalidArgument) << visible;
    EXPECT_THAT(std::string(devices.status().message()), HasSubstr("CUDA_VISIBLE_DEVICES")) << visible;
  }
}

TEST_F(CudaDevicesTest, NoneSaysWhatToDo) {
  AddDevice("nvidiactl");
  const auto none = FindCudaDevices(std::nullopt, dev_, driver_);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("--cpu-slots"));
  AddTwoDevices();
  for (const char* visible : {"", "-1", "NoDevFiles"}) {
    const auto hidden = FindCudaDevices(visible, dev_, driver_);
    EXPECT_EQ(hidden.status().code(), absl::StatusCode::kNotFound) << visible;
    EXPECT_THAT(std::string(hidden.status().message()), HasSubstr("CUDA_VISIBLE_DEVICES")) << visible;
  }
}

TEST(CpuSlotsTest, AreNumberedAndSayTheirThreads) {
  const auto slots = CpuSlots(2, 3);
  ASSERT_EQ(slots.size(), 2u);
  EXPECT_EQ(slots[1].index(), 1);
  EXPECT_EQ(slots[1].device(), v1::DEVICE_KIND_CPU);
  EXPECT_EQ(slots[1].description(), "3 threads");
  EXPECT_EQ(CpuSlots(1, 1)[0].description(), "1 thread");
}

TEST(ThreadsPerSlotTest, SharesCoresAndNeverGivesNone) {
  EXPECT_EQ(ThreadsPerSlot(16, 4), 4);
  EXPECT_EQ(ThreadsPerSlot(7, 2), 3);
  EXPECT_EQ(ThreadsPerSlot(2, 8), 1);
  EXPECT_GE(UsableCores(), 1);
}

}  // namespace
}  // namespace bert::agent
