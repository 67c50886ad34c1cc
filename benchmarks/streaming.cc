// How fast masked rows travel: loaders and trainers' clients in one process, over gRPC on loopback, each rank decoding
// and checking what it gets as a trainer does. benchmarks/streaming_peers.py runs it beside its peers.
//
//   bench_streaming --loaders 1 --ranks 2 --seconds 5
//   bench_streaming --dataset data/english --seq 128
//
// The last line is JSON. `cpu_s` is the processor time of both ends together.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/rpc/credentials.h"
#include "common/rpc/server.h"
#include "common/status_macros.h"
#include "dataloader/corpus/synthetic_dataset.h"
#include "dataloader/service/dataloader_service.h"
#include "worker/trainer/batch_stream.h"

namespace bert::trainer {
namespace {

struct Options {
  std::string dataset;
  int32_t seq = 128;
  int32_t rows = 1024;
  int loaders = 1;
  int ranks = 2;
  double seconds = 5;
};

CredentialFlags Insecure() {
  CredentialFlags credentials;
  credentials.insecure = true;
  return credentials;
}

class Loader {
 public:
  Loader(const std::string& data_root, int threads)
      : service_(
            *loader::DataloaderService::Create({.data_root = data_root, .threads = threads}, &metrics_, &RealClock())),
        server_(*RpcServer::Start(
            {.listen = "127.0.0.1:0", .credentials = Insecure(), .configure = [this](grpc::ServerBuilder& builder) {
               builder.RegisterService(service_.get());
             }})) {}
  ~Loader() {
    service_->StopStreams();
    server_->Stop(absl::ZeroDuration());
  }

  const std::string& address() const { return server_->address(); }
  double bytes() const { return metrics_.bytes.Value(); }

 private:
  loader::LoaderMetrics metrics_;
  std::unique_ptr<loader::DataloaderService> service_;
  std::unique_ptr<RpcServer> server_;
};

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Reads whole steps until told to stop.
void ReadRank(BatchSource& source, const std::atomic<bool>& stop, std::atomic<int64_t>& tokens) {
  while (!stop) {
    const auto step = source.NextStep();
    BERT_CHECK(step.ok()) << step.status();
    tokens += static_cast<int64_t>(step->token_ids.size());
  }
}

absl::Status Run(const Options& options, const std::string& data_root, const std::string& dataset) {
  ASSIGN_OR_RETURN(const auto opened, corpus::Dataset::Open(absl::StrCat(data_root, "/", dataset)));
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  std::vector<std::unique_ptr<Loader>> loaders;
  std::vector<std::string> addresses;
  for (int i = 0; i < options.loaders; ++i) {
    loaders.push_back(std::make_unique<Loader>(data_root, std::max(1, cores / options.loaders)));
    addresses.push_back(loaders.back()->address());
  }
  const LoaderList list(addresses);
  const CredentialFlags credentials = Insecure();
  std::vector<std::unique_ptr<BatchSource>> ranks;
  for (int rank = 0; rank < options.ranks; ++rank) {
    ASSIGN_OR_RETURN(auto source, OpenBatchStream(list, credentials,
                                                  {.dataset = dataset,
                                                   .dataset_digest = opened->digest(),
                                                   .masking = {},
                                                   .max_seq_len = options.seq,
                                                   .vocab_size = opened->vocabulary().vocab_size,
                                                   .range = {.global_rows = options.rows * options.ranks,
                                                             .row_begin = options.rows * rank,
                                                             .row_end = options.rows * (rank + 1),
                                                             .last_step = int64_t{1} << 30},
                                                   .first_loader = rank}));
    RETURN_IF_ERROR(source->NextStep().status());
    ranks.push_back(std::move(source));
  }
  std::atomic<bool> stop = false;
  std::atomic<int64_t> tokens = 0;
  const auto bytes = [&] {
    double sum = 0;
    for (const auto& loader : loaders) sum += loader->bytes();
    return sum;
  };
  const double bytes_before = bytes();
  const double cpu_before = CpuSeconds();
  const absl::Time start = absl::Now();
  {
    std::vector<std::jthread> readers;
    for (const auto& rank : ranks) readers.emplace_back([&, rank = rank.get()] { ReadRank(*rank, stop, tokens); });
    absl::SleepFor(absl::Seconds(options.seconds));
    stop = true;
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const double cpu = CpuSeconds() - cpu_before;
  const auto count = static_cast<double>(tokens);
  std::printf(
      "{\"seq\": %d, \"rows\": %d, \"loaders\": %d, \"ranks\": %d, \"cores\": %d, \"seconds\": %.2f, \"cpu_s\": %.2f, "
      "\"tokens_per_s\": %.0f, \"tokens_per_cpu_s\": %.0f, \"bytes_per_token\": %.3f, \"wire_mb_per_s\": %.1f}\n",
      options.seq, options.rows, options.loaders, options.ranks, cores, seconds, cpu, count / seconds, count / cpu,
      (bytes() - bytes_before) / count, (bytes() - bytes_before) / seconds / 1e6);
  return absl::OkStatus();
}

// Eight million tokens of a vocabulary of 30,522: more than any cache holds.
absl::Status RunOnSynthetic(const Options& options) {
  const std::string root = std::filesystem::temp_directory_path() / absl::StrCat("bench_streaming-", getpid());
  corpus::SyntheticOptions synthetic;
  synthetic.vocab_size = 30'522;
  synthetic.train = {corpus::SyntheticLengths(1, 16'000, 500)};
  RETURN_IF_ERROR(corpus::WriteSyntheticDataset(absl::StrCat(root, "/data"), synthetic).status());
  const absl::Status status = Run(options, root, "data");
  RETURN_IF_ERROR(RemoveTree(root));
  return status;
}

}  // namespace
}  // namespace bert::trainer

int main(int argc, char** argv) {
  bert::trainer::Options options;
  CLI::App app("Measures the stream of masked rows from dataloaders to trainers.");
  app.add_option("--dataset", options.dataset, "Directory of a dataset (default: a synthetic one)")
      ->check(CLI::ExistingDirectory);
  app.add_option("--seq", options.seq, "Tokens of a row")->check(CLI::Range(8, 65535))->capture_default_str();
  app.add_option("--rows", options.rows, "Rows of a step and rank")->check(CLI::Range(1, 65536))->capture_default_str();
  app.add_option("--loaders", options.loaders)->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--ranks", options.ranks)->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 3600.0))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  absl::Status status;
  if (options.dataset.empty()) {
    status = bert::trainer::RunOnSynthetic(options);
  } else {
    const std::filesystem::path dataset = std::filesystem::canonical(options.dataset);
    status = bert::trainer::Run(options, dataset.parent_path(), dataset.filename());
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_streaming: %s\n", status.ToString().c_str());
  return 1;
}
