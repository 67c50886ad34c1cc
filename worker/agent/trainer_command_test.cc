#include "worker/agent/trainer_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace bert::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::StartsWith;

v1::Assignment MakeAssignment(v1::DeviceKind device, int slot) {
  v1::Assignment assignment;
  assignment.set_job_id("job-a");
  assignment.set_generation(2);
  assignment.set_device(device);
  assignment.set_slot(slot);
  return assignment;
}

const TrainerFlags kFlags = {.worker = "/bin/bert-worker",
                             .trainer = "/bin/bert-trainer",
                             .coordinator = "127.0.0.1:7400",
                             .credentials = {"--tls-cert", "c.pem", "--tls-key", "k.pem", "--tls-ca", "ca.pem"},
                             .checkpoint_root = "/checkpoints",
                             .node = "node-1",
                             .address = "10.0.0.7",
                             .threads = 3,
                             .devices = {"0", "GPU-3f2a"}};

TEST(TrainerCommandTest, PassesEverythingOn) {
  const auto options = TrainerCommand(kFlags, MakeAssignment(v1::DEVICE_KIND_CPU, 0), "/work/a.json");
  EXPECT_THAT(options.argv,
              ElementsAre("/bin/bert-worker", "--exec-trainer", absl::StrCat(getpid()), "/bin/bert-trainer",
                          "--coordinator", "127.0.0.1:7400", "--assignment", "/work/a.json", "--checkpoint-root",
                          "/checkpoints", "--node", "node-1", "--threads", "3", "--address", "10.0.0.7", "--tls-cert",
                          "c.pem", "--tls-key", "k.pem", "--tls-ca", "ca.pem"));
  EXPECT_THAT(options.environment, IsSupersetOf({"OMP_NUM_THREADS=3", "CUDA_VISIBLE_DEVICES="}));
}

TEST(TrainerCommandTest, ACudaRankSeesItsDeviceAlone) {
  const auto options = TrainerCommand(kFlags, MakeAssignment(v1::DEVICE_KIND_CUDA, 1), "/work/a.json");
  EXPECT_THAT(options.environment, IsSupersetOf({"CUDA_VISIBLE_DEVICES=GPU-3f2a", "CUDA_DEVICE_ORDER=PCI_BUS_ID"}));
}

TEST(TrainerCommandTest, ADeterministicCudaRankHasDeterministicProducts) {
  v1::Assignment assignment = MakeAssignment(v1::DEVICE_KIND_CUDA, 0);
  EXPECT_THAT(TrainerCommand(kFlags, assignment, "/work/a.json").environment,
              Not(Contains(StartsWith("CUBLAS_WORKSPACE_CONFIG="))));
  assignment.mutable_spec()->set_deterministic(true);
  EXPECT_THAT(TrainerCommand(kFlags, assignment, "/work/a.json").environment,
              Contains("CUBLAS_WORKSPACE_CONFIG=:4096:8"));
}

TEST(TrainerCommandTest, ReplacesAVariableOfTheAgents) {
  ASSERT_EQ(setenv("OMP_NUM_THREADS", "77", 1), 0);
  const auto options = TrainerCommand(kFlags, MakeAssignment(v1::DEVICE_KIND_CPU, 0), "/work/a.json");
  EXPECT_THAT(options.environment, Not(Contains(StartsWith("OMP_NUM_THREADS=7"))));
  unsetenv("OMP_NUM_THREADS");
}

TEST(CheckAssignmentTest, RefusesWhatCannotRunHere) {
  v1::Slot slot;
  slot.set_device(v1::DEVICE_KIND_CPU);
  const std::vector<v1::Slot> slots = {slot};
  EXPECT_TRUE(CheckAssignment(MakeAssignment(v1::DEVICE_KIND_CPU, 0), slots).ok());
  EXPECT_THAT(std::string(CheckAssignment(MakeAssignment(v1::DEVICE_KIND_CPU, 1), slots).message()),
              HasSubstr("no slot 1"));
  EXPECT_THAT(std::string(CheckAssignment(MakeAssignment(v1::DEVICE_KIND_CUDA, 0), slots).message()),
              HasSubstr("DEVICE_KIND_CPU"));
  v1::Assignment outside = MakeAssignment(v1::DEVICE_KIND_CPU, 0);
  for (const char* id : {"", "../../etc", "a/b", "a.b"}) {
    outside.set_job_id(id);
    EXPECT_FALSE(CheckAssignment(outside, slots).ok()) << id;
  }
}

}  // namespace
}  // namespace bert::agent
