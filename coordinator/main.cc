// bert-coordinator: queue, membership, rendezvous, checkpoint registry, events and logs of all jobs.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/files.h"
#include "common/logging.h"
#include "common/shutdown.h"
#include "common/version.h"
#include "coordinator/server.h"

namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr char kExamples[] = R"(
Examples:
  bert-coordinator --insecure --state-dir /var/lib/bert
  bert-coordinator --listen 0.0.0.0:7400 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem --state-dir /var/lib/bert
)";

// Of "1s" or "500ms".
std::function<std::string(const std::string&)> DurationBetween(absl::Duration min, absl::Duration max) {
  return [min, max](const std::string& text) -> std::string {
    absl::Duration duration;
    if (absl::ParseDuration(text, &duration) && duration >= min && duration <= max) return "";
    return absl::StrCat("'", text, "' is not a time from ", absl::FormatDuration(min), " to ",
                        absl::FormatDuration(max), ", such as 1s or 500ms");
  };
}

absl::Duration ToDuration(const std::string& text) {
  absl::Duration duration;
  absl::ParseDuration(text, &duration);
  return duration;
}

int Fail(const absl::Status& status) {
  std::cerr << "bert-coordinator: " << status.message() << std::endl;
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitError;
}

int Run(int argc, char** argv) {
  bert::coordinator::Server::Options options;
  bert::LogOptions log_options;
  std::string heartbeat_interval = "1s";
  std::string rendezvous_timeout = "60s";
  std::string ready_file;

  CLI::App app("The coordinator of the BERT pretraining service.", "bert-coordinator");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string(bert::kVersion));
  app.add_option("--listen", options.listen, "gRPC address; port 0 picks a free one")->capture_default_str();
  app.add_option("--http", options.http, "address of /metrics, /healthz and /readyz")->capture_default_str();
  app.add_option("--state-dir", options.state_dir, "directory of the journal and the history")->required();
  app.add_option("--heartbeat-interval", heartbeat_interval, "of agents and dataloaders; a lease is three of them")
      ->check(DurationBetween(absl::Milliseconds(100), absl::Hours(1)))
      ->capture_default_str();
  app.add_option("--rendezvous-timeout", rendezvous_timeout, "time for all ranks of a generation to meet")
      ->check(DurationBetween(absl::Seconds(1), absl::Hours(24)))
      ->capture_default_str();
  app.add_option("--ready-file", ready_file, "written once serving: {\"address\": ..., \"http\": ...}");
  app.add_option("--log-level", log_options.level, "trace, debug, info, warning, error")->capture_default_str();
  app.add_option("--log-format", log_options.format, "text or json")->capture_default_str();
  options.credentials.AddTo(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  options.heartbeat_interval = ToDuration(heartbeat_interval);
  options.rendezvous_timeout = ToDuration(rendezvous_timeout);
  if (const absl::Status logging = bert::InitLogging("bert-coordinator", log_options); !logging.ok()) {
    Fail(logging);
    return kExitUsage;
  }

  // gRPC would print a page of its own about an error that is reported here in a line.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  bert::ShutdownSignal shutdown;
  auto server = bert::coordinator::Server::Start(options);
  if (!server.ok()) return Fail(server.status());
  spdlog::info("serving address={} http={} state_dir={}", (*server)->address(), (*server)->http_address(),
               options.state_dir);
  if (!ready_file.empty()) {
    const nlohmann::json ready = {{"address", (*server)->address()}, {"http", (*server)->http_address()}};
    if (const absl::Status written = bert::WriteFileDurably(ready_file, ready.dump() + "\n"); !written.ok()) {
      return Fail(written);
    }
  }
  shutdown.Wait();
  spdlog::info("stopping signal={}", shutdown.Received());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "bert-coordinator: " << e.what() << std::endl;
    return kExitError;
  }
}
