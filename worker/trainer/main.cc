// bert-trainer: one rank of one generation of one job. The agent starts it.
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/logging.h"
#include "common/rpc/credentials.h"
#include "common/shutdown.h"
#include "common/version.h"
#include "worker/trainer/abrupt_end.h"
#include "worker/trainer/assignment_file.h"
#include "worker/trainer/batch_stream.h"
#include "worker/trainer/coordinator_client.h"
#include "worker/trainer/dataset_client.h"
#include "worker/trainer/loader_list.h"
#include "worker/trainer/trainer.h"

namespace bert::trainer {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
// This rank is well, another one is lost: the coordinator looks for the cause there.
constexpr int kExitPeerLost = 3;
// What a shell says of a process that a signal ended: this and the signal's number.
constexpr int kExitSignal = 128;

constexpr absl::Duration kLoaderTimeout = absl::Minutes(8);

struct Flags {
  std::string coordinator = "127.0.0.1:7400";
  std::string assignment;
  std::string checkpoint_root;
  std::string node;
  std::string address = "127.0.0.1";
  int threads = 0;
  int collective_timeout_s = 600;
  LogOptions log;
  CredentialFlags credentials;
};

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--coordinator", flags.coordinator, "Coordinator, host:port")->capture_default_str();
  app.add_option("--assignment", flags.assignment, "File with the JSON form of bert.v1.Assignment")->required();
  app.add_option("--checkpoint-root", flags.checkpoint_root, "Directory that holds a directory of checkpoints per job")
      ->required();
  app.add_option("--node", flags.node, "Name of this node")->required();
  app.add_option("--address", flags.address, "Address of this machine at which the other ranks reach this one")
      ->capture_default_str();
  app.add_option("--threads", flags.threads, "Threads of this rank's arithmetic; 0: as many as cores")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--collective-timeout", flags.collective_timeout_s,
                 "Seconds after which a rank that is silent in a collective counts as lost")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--log-level", flags.log.level, "trace, debug, info, warning, error or off")->capture_default_str();
  app.add_option("--log-format", flags.log.format, "text or json")->capture_default_str();
  flags.credentials.AddTo(app);
  app.set_version_flag("--version", std::string(kVersion));
  app.footer(
      "Exit status: 0 trained to the end or stopped as told, 1 error (the last line says which), 2 usage,\n"
      "3 another rank is lost, 128 + n ended by signal n.\n\n"
      "Example:\n"
      "  bert-trainer --coordinator 127.0.0.1:7400 --insecure --node box --checkpoint-root /data/checkpoints \\\n"
      "      --assignment /run/bert/assignment.json --threads 2");
}

// Every micro-batch allocates the same large buffers again. Given back to the kernel in between, they cost a page fault
// for each page: 3% of a small model's step.
void KeepFreedMemory() {
  constexpr int kMmapThresholdMax = 32 << 20;  // glibc refuses more.
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdMax);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, kMmapThresholdMax);
}

absl::Status Run(const Flags& flags, AbruptEnd& end) {
  absl::StatusOr<Assignment> assignment = ReadAssignmentFile(flags.assignment);
  if (!assignment.ok()) return assignment.status();
  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = ConnectCoordinator(
      flags.coordinator, flags.credentials, {assignment->job_id, assignment->generation, assignment->rank, flags.node});
  if (!coordinator.ok()) return coordinator.status();
  LoaderList loaders(assignment->loaders);
  const JobPlan& plan = assignment->plan;
  return RunTrainer({.assignment = *assignment,
                     .checkpoint_root = flags.checkpoint_root,
                     .address = flags.address,
                     .threads = flags.threads,
                     .collective_timeout = absl::Seconds(flags.collective_timeout_s),
                     .coordinator = coordinator->get(),
                     .loaders = &loaders,
                     .end = &end,
                     .describe_dataset =
                         [&](int32_t max_seq_len, const std::string& digest) {
                           return DescribeDataset(loaders, flags.credentials,
                                                  {plan.dataset, digest, max_seq_len, plan.row_format}, kLoaderTimeout);
                         },
                     .open_batches =
                         [&](const DatasetDescription& dataset, const RowRange& range) {
                           const PhasePlan& phase = plan.phases.at(static_cast<size_t>(range.phase));
                           return OpenBatchStream(loaders, flags.credentials,
                                                  {.dataset = plan.dataset,
                                                   .dataset_digest = dataset.digest,
                                                   .seed = plan.seed,
                                                   .masking = phase.masking,
                                                   .max_seq_len = phase.max_seq_len,
                                                   .row_format = plan.row_format,
                                                   .vocab_size = dataset.vocab_size,
                                                   .range = range,
                                                   .first_loader = assignment->rank,
                                                   .give_up_after = kLoaderTimeout});
                         }});
}

}  // namespace

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Trains one rank of a job. bert-worker starts it.", "bert-trainer");
  AddFlags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (const absl::Status status = InitLogging("bert-trainer", flags.log); !status.ok()) {
    fprintf(stderr, "bert-trainer: %s\n", std::string(status.message()).c_str());
    return kExitUsage;
  }
  KeepFreedMemory();
  AbruptEnd end;
  ShutdownSignal shutdown;
  shutdown.OnRequest(
      [&] { end.Now(kExitSignal + shutdown.Received(), absl::StrCat("ended by signal ", shutdown.Received())); });
  const absl::Status status = Run(flags, end);
  if (status.ok()) return 0;
  spdlog::error("{}", std::string(status.message()));
  return status.code() == absl::StatusCode::kUnavailable ? kExitPeerLost : kExitError;
}

}  // namespace bert::trainer

int main(int argc, char** argv) { return bert::trainer::Main(argc, argv); }
