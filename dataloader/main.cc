// bert-dataloader: serves masked batches of the datasets under one folder.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/entropy.h"
#include "common/files.h"
#include "common/http_endpoint.h"
#include "common/logging.h"
#include "common/rpc/credentials.h"
#include "common/rpc/server.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "dataloader/service/coordinator_heartbeat.h"
#include "dataloader/service/dataloader_service.h"
#include "dataloader/service/loader_metrics.h"

namespace bert::loader {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
// For the last write of each stream; then it is cut off.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// A client that is gone without a word is found out after twice this.
constexpr int kKeepaliveMs = 10'000;

constexpr char kExamples[] = R"(Examples:
  the datasets under data/, on this machine:
    bert-dataloader --data-root data --coordinator 127.0.0.1:7400 --insecure
  for trainers on other machines:
    bert-dataloader --data-root /data --listen 0.0.0.0:7410 --advertise 10.0.0.9:7410 \
                    --coordinator bert.example.org:7400 --tls-cert node.pem --tls-key node.key --tls-ca ca.pem

Any number of dataloaders can serve the same datasets: each gives the same rows, and trainers go on at another when
one is gone. SIGTERM and SIGINT end it: exit code 0.
)";

struct Flags {
  std::string listen = "127.0.0.1:7410";
  std::string http = "127.0.0.1:7411";
  std::string data_root;
  std::string coordinator;
  std::string advertise;
  int threads = 0;
  int responses_ahead = 2;
  std::string index_directory;
  int verify_minutes = 10;
  std::string ready_file;
  CredentialFlags credentials;
  LogOptions log;
};

// Where trainers find this process. INVALID_ARGUMENT where that cannot be known.
absl::StatusOr<std::string> AdvertisedAddress(const Flags& flags, const std::string& listening) {
  const std::string advertised = flags.advertise.empty() ? listening : flags.advertise;
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(advertised));
  if (address.host == "0.0.0.0" || address.host == "::" || address.host == "[::]") {
    return absl::InvalidArgumentError(absl::StrCat("trainers cannot connect to ", advertised,
                                                   ": give the address that they reach this machine at with "
                                                   "--advertise"));
  }
  if (flags.coordinator.empty() || !IsLoopback(address.host)) return advertised;
  ASSIGN_OR_RETURN(const HostPort coordinator, ParseHostPort(flags.coordinator));
  if (IsLoopback(coordinator.host)) return advertised;
  return absl::InvalidArgumentError(absl::StrCat(
      flags.advertise.empty() ? "without --advertise trainers would be sent to " : "--advertise ", advertised,
      ", which is this machine alone, but the coordinator ", flags.coordinator,
      " is not at a loopback address: give the address at which other nodes reach this one with --advertise"));
}

absl::Status WriteReadyFile(const std::string& path, const std::string& address, const std::string& http) {
  const nlohmann::json content = {{"address", address}, {"http", http}, {"pid", getpid()}};
  return WriteFileDurably(path, content.dump() + "\n");
}

absl::Status Serve(const Flags& flags, const ShutdownSignal& shutdown) {
  LoaderMetrics metrics;
  const int threads =
      flags.threads > 0 ? flags.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  ASSIGN_OR_RETURN(const auto service,
                   DataloaderService::Create({.data_root = flags.data_root,
                                              .threads = threads,
                                              .responses_ahead = flags.responses_ahead,
                                              .index_directory = flags.index_directory,
                                              .verify = {.interval = absl::Minutes(flags.verify_minutes)}},
                                             &metrics, &RealClock()));
  ASSIGN_OR_RETURN(const auto server,
                   RpcServer::Start({.listen = flags.listen,
                                     .credentials = flags.credentials,
                                     .configure = [&service](grpc::ServerBuilder& builder) {
                                       builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
                                       builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
                                       builder.RegisterService(service.get());
                                     }}));
  ASSIGN_OR_RETURN(const std::string advertised, AdvertisedAddress(flags, server->address()));
  std::unique_ptr<HttpEndpoint> http;
  if (!flags.http.empty()) {
    ASSIGN_OR_RETURN(http, HttpEndpoint::Start({.listen = flags.http,
                                                .metrics = metrics.registry,
                                                .ready =
                                                    [&shutdown] {
                                                      return shutdown.Requested()
                                                                 ? absl::UnavailableError("shutting down")
                                                                 : absl::OkStatus();
                                                    },
                                                .pages = {}}));
  }
  const std::string http_address = http == nullptr ? "" : http->address();
  std::unique_ptr<CoordinatorHeartbeat> heartbeat;
  if (!flags.coordinator.empty()) {
    ASSIGN_OR_RETURN(const auto channel, MakeChannel(flags.coordinator, flags.credentials));
    heartbeat = std::make_unique<CoordinatorHeartbeat>(
        channel,
        CoordinatorHeartbeat::Options{.address = advertised,
                                      .version = kVersion,
                                      .open_streams = [&service] { return service->open_streams(); },
                                      .seed = RandomSeed()},
        &metrics);
  }
  spdlog::info("serving data_root={} address={} http={} threads={}", flags.data_root, server->address(), http_address,
               threads);
  if (!flags.ready_file.empty()) {
    RETURN_IF_ERROR(WriteReadyFile(flags.ready_file, server->address(), http_address));
  }
  shutdown.Wait();
  spdlog::info("stopping signal={} open_streams={}", shutdown.Received(), service->open_streams());
  // First no longer offered, then no longer there.
  heartbeat = nullptr;
  service->StopStreams();
  server->Stop(kStopGrace);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Serves masked batches of tokenized datasets to trainers.", "bert-dataloader");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string(kVersion));
  app.add_option("--listen", flags.listen, "host:port to serve at; port 0 takes any free one")->capture_default_str();
  app.add_option("--http", flags.http, "host:port for /metrics, /healthz and /readyz; empty for none")
      ->capture_default_str();
  app.add_option("--data-root", flags.data_root, "Folder that holds the datasets; nothing outside it is served")
      ->required();
  app.add_option("--coordinator", flags.coordinator,
                 "Address of the coordinator that hands this dataloader out to trainers (default: none)")
      ->envname("BERT_COORDINATOR");
  app.add_option("--advertise", flags.advertise, "host:port that trainers reach this at (default: that of --listen)");
  app.add_option("--threads", flags.threads, "Threads that make batches (default: one per core)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--responses-ahead", flags.responses_ahead,
                 "Responses of each stream to make before they are asked for; each is at most 1 MiB")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--index-dir", flags.index_directory,
                 "Folder for row indexes, made when first needed; empty: they stay in memory (default: .row-index in "
                 "the data root)");
  app.add_option("--verify-every", flags.verify_minutes,
                 "Minutes between two looks at all bytes of the open datasets; 0: only when they are opened")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  app.add_option("--ready-file", flags.ready_file, "File to write (JSON with both addresses) once serving");
  flags.credentials.AddTo(app);
  app.add_option("--log-level", flags.log.level, "trace, debug, info, warning or error")->capture_default_str();
  app.add_option("--log-format", flags.log.format, "text or json")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  // Beside the datasets: whoever may read them may read what was made from them.
  if (app.count("--index-dir") == 0) flags.index_directory = absl::StrCat(flags.data_root, "/.row-index");
  if (const absl::Status logging = InitLogging("bert-dataloader", flags.log); !logging.ok()) {
    std::cerr << "bert-dataloader: " << logging.message() << "\n";
    return kExitUsage;
  }
  ShutdownSignal shutdown;
  const absl::Status status = Serve(flags, shutdown);
  if (status.ok()) return 0;
  std::cerr << "bert-dataloader: " << status.message() << "\n";
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitError;
}

}  // namespace
}  // namespace bert::loader

int main(int argc, char** argv) { return bert::loader::Main(argc, argv); }
