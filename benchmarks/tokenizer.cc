// How fast texts become token ids, on any number of threads. benchmarks/tokenizer.py times Hugging Face's tokenizers on
// the same texts beside it.
//
//   bench_tokenizer --tokenizer DIR --threads 2 TEXT_FILE...
//
// Prints a JSON object: tokens of one pass over all documents, and of the best pass the wall time and the processor
// time over all threads.
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/files.h"
#include "common/status_macros.h"
#include "dataloader/text/tokenizer_files.h"

namespace bert::text {
namespace {

struct Options {
  std::string tokenizer;
  std::vector<std::string> files;
  int threads = 1;
  int rounds = 5;
  bool offsets = false;
};

struct Pass {
  int64_t tokens = 0;
  double wall_s = std::numeric_limits<double>::infinity();
  double cpu_s = 0;
};

// Blank lines separate documents.
std::vector<std::string_view> Documents(std::string_view text) {
  std::vector<std::string_view> documents;
  while (!text.empty()) {
    const size_t end = std::min(text.find("\n\n"), text.size());
    if (end > 0) documents.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 2, text.size()));
  }
  return documents;
}

double ProcessSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

Pass EncodeAll(const WordPieceTokenizer& tokenizer, const std::vector<std::string_view>& documents,
               const Options& options) {
  std::atomic<size_t> next = 0;
  std::atomic<int64_t> tokens = 0;
  const auto encode = [&] {
    std::vector<uint32_t> ids;
    std::vector<ByteSpan> spans;
    int64_t count = 0;
    for (size_t i = next++; i < documents.size(); i = next++) {
      ids.clear();
      spans.clear();
      if (options.offsets) {
        tokenizer.EncodeWithOffsets(documents[i], &ids, &spans);
      } else {
        tokenizer.Encode(documents[i], &ids);
      }
      count += static_cast<int64_t>(ids.size());
    }
    tokens += count;
  };
  const double cpu_start = ProcessSeconds();
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> others;
    for (int i = 1; i < options.threads; ++i) others.emplace_back(encode);
    encode();
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  return {.tokens = tokens, .wall_s = wall.count(), .cpu_s = ProcessSeconds() - cpu_start};
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<WordPieceTokenizer> tokenizer, LoadWordPieceTokenizer(options.tokenizer));
  std::string text;
  for (const std::string& file : options.files) {
    ASSIGN_OR_RETURN(const std::string content, ReadFile(file));
    text += content + "\n\n";
  }
  const std::vector<std::string_view> documents = Documents(text);
  Pass best;
  for (int round = 0; round < options.rounds; ++round) {
    const Pass pass = EncodeAll(*tokenizer, documents, options);
    if (pass.wall_s < best.wall_s) best = pass;
  }
  std::printf(
      "{\"documents\": %zu, \"bytes\": %zu, \"tokens\": %lld, \"threads\": %d, \"wall_s\": %.6f, \"cpu_s\": %.6f}\n",
      documents.size(), text.size(), static_cast<long long>(best.tokens), options.threads, best.wall_s, best.cpu_s);
  return absl::OkStatus();
}

}  // namespace
}  // namespace bert::text

int main(int argc, char** argv) {
  bert::text::Options options;
  CLI::App app("Measures how fast the tokenizer encodes text.");
  app.add_option("files", options.files, "UTF-8 text, a blank line between documents")->required();
  app.add_option("--tokenizer", options.tokenizer, "Directory with vocab.txt and tokenizer_config.json")->required();
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--rounds", options.rounds, "Passes, of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--offsets", options.offsets, "Compute offsets too");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = bert::text::Run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
