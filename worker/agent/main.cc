// bert-worker: the agent of one node.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/entropy.h"
#include "common/files.h"
#include "common/http_endpoint.h"
#include "common/logging.h"
#include "common/rpc/credentials.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/agent/agent_metrics.h"
#include "worker/agent/node_agent.h"
#include "worker/agent/slots.h"
#include "worker/agent/trainer_exec.h"

namespace bert::agent {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr int kIncarnationLength = 16;

constexpr char kExamples[] = R"(Examples:
  two ranks at a time on this machine's processors:
    bert-worker --coordinator 127.0.0.1:7400 --cpu-slots 2 --work-dir /var/lib/bert/work \
                --checkpoint-root /var/lib/bert/checkpoints --insecure
  one rank on each NVIDIA device:
    bert-worker --coordinator bert.example.org:7400 --address 10.0.0.7 --work-dir /var/lib/bert/work \
                --checkpoint-root /mnt/checkpoints --tls-cert node.pem --tls-key node.key --tls-ca ca.pem

SIGTERM and SIGINT end the trainers (SIGTERM, --grace, SIGKILL), then the agent: exit code 0.
)";

struct Flags {
  std::string coordinator = "127.0.0.1:7400";
  std::string node;
  int cpu_slots = 0;
  int threads_per_slot = 0;
  std::string work_dir;
  std::string checkpoint_root;
  std::string address = "127.0.0.1";
  std::string http;
  std::string trainer;
  std::string grace = "10s";
  std::string ready_file;
  CredentialFlags credentials;
  LogOptions log;
};

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

absl::StatusOr<std::string> OwnPath() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(absl::StrCat("cannot read /proc/self/exe: ", error.message()));
  return path.string();
}

absl::StatusOr<std::string> TrainerPath(const std::string& flag, const std::string& own_path) {
  const std::filesystem::path path =
      flag.empty() ? std::filesystem::path(own_path).parent_path() / "bert-trainer" : std::filesystem::absolute(flag);
  if (access(path.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("no trainer to run at ", path.string(), " (", strerror(errno),
                                            "): build bert-trainer, or give its path with --trainer"));
  }
  return path.string();
}

// Held until the process ends. Two agents in one directory would write over each other's files.
absl::Status LockWorkDir(const std::string& work_dir) {
  RETURN_IF_ERROR(MakeDirectories(work_dir));
  const std::string path = work_dir + "/agent.lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(errno, absl::StrCat("cannot open ", path));
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  const int error = errno;
  close(fd);
  if (error != EWOULDBLOCK) return SystemError(error, absl::StrCat("cannot lock ", path));
  return absl::AlreadyExistsError(
      absl::StrCat("another bert-worker uses ", work_dir, "; end it, or give this one its own --work-dir"));
}

// Rank 0 hands its address out, and trainers of other nodes would wait at their own machine until the collective's
// timeout, and blame a peer.
absl::Status CheckReachable(const Flags& flags) {
  ASSIGN_OR_RETURN(const HostPort coordinator, ParseHostPort(flags.coordinator));
  if (IsLoopback(coordinator.host) || !IsLoopback(flags.address)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--address ", flags.address, " is this machine alone, but the coordinator ", flags.coordinator,
                   " is not at a loopback address: give the address at which other nodes reach this one"));
}

absl::Status WriteReadyFile(const std::string& path, const std::string& node, const std::string& http) {
  const nlohmann::json content = {{"node", node}, {"http", http}, {"pid", getpid()}};
  return WriteFileDurably(path, content.dump() + "\n");
}

absl::Status Serve(const Flags& flags, absl::Duration grace, ShutdownSignal& shutdown) {
  RETURN_IF_ERROR(CheckReachable(flags));
  Clock& clock = RealClock();
  NodeAgent::Options options;
  options.node = flags.node.empty() ? HostName() : flags.node;
  options.address = flags.address;
  options.version = kVersion;
  options.work_dir = std::filesystem::absolute(flags.work_dir);
  options.grace = grace;
  options.new_incarnation = [] { return RandomToken(kIncarnationLength); };
  options.seed = RandomSeed();

  const int cores = UsableCores();
  int threads = flags.threads_per_slot;
  if (flags.cpu_slots > 0) {
    if (threads == 0) threads = ThreadsPerSlot(cores, flags.cpu_slots);
    options.slots = CpuSlots(flags.cpu_slots, threads);
  } else {
    const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
    ASSIGN_OR_RETURN(const std::vector<CudaDevice> devices,
                     FindCudaDevices(visible == nullptr ? std::nullopt : std::optional<std::string>(visible)));
    options.slots = CudaSlots(devices);
    for (const CudaDevice& device : devices) options.trainer.devices.push_back(device.visible);
    if (threads == 0) threads = ThreadsPerSlot(cores, static_cast<int>(options.slots.size()));
  }

  ASSIGN_OR_RETURN(options.trainer.worker, OwnPath());
  ASSIGN_OR_RETURN(options.trainer.trainer, TrainerPath(flags.trainer, options.trainer.worker));
  options.trainer.coordinator = flags.coordinator;
  options.trainer.credentials = flags.credentials.Arguments();
  options.trainer.checkpoint_root = std::filesystem::absolute(flags.checkpoint_root);
  options.trainer.node = options.node;
  options.trainer.address = flags.address;
  options.trainer.threads = threads;

  ASSIGN_OR_RETURN(const auto channel, MakeChannel(flags.coordinator, flags.credentials));
  RETURN_IF_ERROR(LockWorkDir(options.work_dir));
  RETURN_IF_ERROR(MakeDirectories(options.trainer.checkpoint_root));

  AgentMetrics metrics;
  std::string http_address;
  absl::Status ready_file_written;
  options.on_registered = [&, node = options.node] {
    if (flags.ready_file.empty()) return;
    ready_file_written = WriteReadyFile(flags.ready_file, node, http_address);
    if (!ready_file_written.ok()) shutdown.Request(SIGTERM);
  };
  const auto agent = std::make_shared<NodeAgent>(channel, std::move(options), &clock, &metrics);
  std::unique_ptr<HttpEndpoint> http;
  if (!flags.http.empty()) {
    ASSIGN_OR_RETURN(http, HttpEndpoint::Start({.listen = flags.http,
                                                .metrics = metrics.registry,
                                                .ready = [agent] { return agent->Ready(); },
                                                .pages = {}}));
    http_address = http->address();
    spdlog::info("metrics at http://{}/metrics", http_address);
  }
  shutdown.OnRequest([weak = std::weak_ptr<NodeAgent>(agent)] {
    if (const auto held = weak.lock()) held->RequestStop();
  });
  RETURN_IF_ERROR(agent->Run());
  return ready_file_written;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("The agent of one node: offers its slots to the coordinator and runs the trainers assigned to it.",
               "bert-worker");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string(kVersion));
  app.add_option("--coordinator", flags.coordinator, "Address of the coordinator")
      ->envname("BERT_COORDINATOR")
      ->capture_default_str();
  app.add_option("--node", flags.node, "Name of this node, unique in the cluster (default: the host name)");
  app.add_option("--cpu-slots", flags.cpu_slots,
                 "Ranks to run at a time on the processors (default: none, one rank per NVIDIA device instead, of "
                 "those in CUDA_VISIBLE_DEVICES where it is set)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--threads-per-slot", flags.threads_per_slot, "Threads of each rank (default: cores / slots)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--work-dir", flags.work_dir, "Directory for logs and assignments; of this agent alone")->required();
  app.add_option("--checkpoint-root", flags.checkpoint_root,
                 "Directory for checkpoints; the same on every node, shared where there are several")
      ->required();
  app.add_option("--address", flags.address,
                 "Host or address at which other nodes' trainers reach this one's; needed where the coordinator is not "
                 "on this machine")
      ->capture_default_str();
  app.add_option("--http", flags.http, "host:port for /metrics, /healthz and /readyz (default: none)");
  app.add_option("--trainer", flags.trainer, "Path of bert-trainer (default: beside this program)");
  app.add_option("--grace", flags.grace, "Time between SIGTERM and SIGKILL for a trainer that shall end")
      ->capture_default_str();
  app.add_option("--ready-file", flags.ready_file, "File to write (JSON) once registered");
  flags.credentials.AddTo(app);
  app.add_option("--log-level", flags.log.level, "trace, debug, info, warning or error")->capture_default_str();
  app.add_option("--log-format", flags.log.format, "text or json")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  absl::Duration grace;
  if (!absl::ParseDuration(flags.grace, &grace) || grace < absl::ZeroDuration()) {
    std::cerr << "bert-worker: --grace '" << flags.grace << "' is no duration: write it like 10s or 500ms\n";
    return kExitUsage;
  }
  if (const absl::Status logging = InitLogging("bert-worker", flags.log); !logging.ok()) {
    std::cerr << "bert-worker: " << logging.message() << "\n";
    return kExitUsage;
  }
  ShutdownSignal shutdown;
  const absl::Status status = Serve(flags, grace, shutdown);
  if (status.ok()) return 0;
  std::cerr << "bert-worker: " << status.message() << "\n";
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitError;
}

}  // namespace
}  // namespace bert::agent

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], bert::agent::kExecTrainerFlag) == 0) {
    return bert::agent::ExecTrainer(argc, argv);
  }
  try {
    return bert::agent::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "bert-worker: " << error.what() << "\n";
    return bert::agent::kExitError;
  }
}
