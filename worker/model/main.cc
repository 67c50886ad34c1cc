// bert-model: looks at trained models, and lets them fill masks.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <iostream>
#include <limits>
#include <string>

#include "common/logging.h"
#include "common/version.h"
#include "worker/model/commands.h"
#include "worker/model/cpu/parallel.h"

namespace bert::model {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

constexpr char kExamples[] = R"(Examples:
  bert-model fill-mask --model checkpoints/JOB/step-00000600 --text "She was the youngest of the two [MASK]."
  bert-model inspect checkpoints/JOB/step-00000600

A model directory holds config.json, model.safetensors and the tokenizer's files: every checkpoint does, and every BERT
that transformers' save_pretrained wrote.
Exit codes: 0 done, 1 error, 2 wrong usage.
)";

constexpr char kFillMaskExamples[] = R"(Examples:
  bert-model fill-mask --model DIR --text "A single man in possession of a good [MASK] must be in want of a [MASK]."
  bert-model fill-mask --model DIR --top-k 5 --json < sentences.txt
)";

constexpr char kInspectExamples[] = R"(Examples:
  bert-model inspect DIR
  bert-model inspect DIR --json | jq .parameters
)";

constexpr char kEvaluateExamples[] = R"(Examples:
  bert-data rows data/novels --split validation --max-seq-len 128 --count 1000 --json > rows.jsonl
  bert-model evaluate --model DIR --rows rows.jsonl
)";

struct Flags {
  LogOptions log;
  FillMaskFlags fill_mask;
  InspectFlags inspect;
  EvaluateFlags evaluate;
  std::string precision = "fp32";
  int threads = 0;
};

CLI::App* AddFillMask(CLI::App& app, Flags& flags) {
  CLI::App* command = app.add_subcommand("fill-mask", "Predict the tokens behind each [MASK] of some sentences");
  command->footer(kFillMaskExamples);
  command->add_option("--model", flags.fill_mask.model, "Model directory")->required()->type_name("DIR");
  command->add_option("--text", flags.fill_mask.texts, "A sentence with [MASK]; may be repeated (else lines of stdin)")
      ->take_all()
      ->expected(1)
      ->type_name("TEXT");
  command->add_option("--top-k", flags.fill_mask.top_k, "Predictions for each [MASK]")
      ->check(CLI::Range(int64_t{1}, std::numeric_limits<int64_t>::max()).description(""))
      ->capture_default_str();
  command->add_flag("--json", flags.fill_mask.json, "One JSON object a sentence");
  return command;
}

CLI::App* AddInspect(CLI::App& app, Flags& flags) {
  CLI::App* command = app.add_subcommand("inspect", "Print configuration, size and tensors of a model");
  command->footer(kInspectExamples);
  command->add_option("DIR", flags.inspect.model, "Model directory")->required()->type_name("");
  command->add_flag("--json", flags.inspect.json, "One JSON object");
  return command;
}

CLI::App* AddEvaluate(CLI::App& app, Flags& flags) {
  CLI::App* command = app.add_subcommand("evaluate", "Print loss, perplexity and accuracy on masked rows");
  command->footer(kEvaluateExamples);
  command->add_option("--model", flags.evaluate.model, "Model directory")->required()->type_name("DIR");
  command->add_option("--rows", flags.evaluate.rows, "What `bert-data rows --json` printed; - for stdin")
      ->required()
      ->type_name("FILE");
  command->add_option("--batch-rows", flags.evaluate.batch_rows, "Rows at a time")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->capture_default_str();
  command->add_option("--precision", flags.precision, "What it computes in")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command->add_flag("--json", flags.evaluate.json, "One JSON object");
  return command;
}

int Run(int argc, char** argv) {
  Flags flags;
  CLI::App app("Looks at trained models, and lets them fill masks.", "bert-model");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--threads", flags.threads, "Threads to compute with; 0 for all cores")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--log-level", flags.log.level, "trace, debug, info, warning, error")->capture_default_str();
  app.add_option("--log-format", flags.log.format, "text or json")->capture_default_str();
  const CLI::App* fill_mask = AddFillMask(app, flags);
  const CLI::App* inspect = AddInspect(app, flags);
  AddEvaluate(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  absl::Status status = InitLogging("bert-model", flags.log);
  if (!status.ok()) {
    std::cerr << "bert-model: " << status.message() << "\n";
    return kExitUsage;
  }
  cpu::FlushDenormals();
  if (flags.threads > 0) at::set_num_threads(flags.threads);
  if (fill_mask->parsed()) {
    status = FillMask(flags.fill_mask, std::cin, std::cout);
  } else if (inspect->parsed()) {
    status = Inspect(flags.inspect, std::cout);
  } else {
    flags.evaluate.bf16 = flags.precision == "bf16";
    status = Evaluate(flags.evaluate, std::cin, std::cout);
  }
  if (status.ok()) return 0;
  std::cout.flush();
  std::cerr << "bert-model: " << status.message() << "\n";
  return kExitError;
}

}  // namespace
}  // namespace bert::model

int main(int argc, char** argv) {
  try {
    return bert::model::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "bert-model: " << error.what() << "\n";
    return 1;
  }
}
