// bert-data: text into vocabularies and datasets, without a network.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <iostream>
#include <map>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/logging.h"
#include "common/shutdown.h"
#include "common/version.h"
#include "dataloader/data_commands.h"
#include "dataloader/row_listing.h"

namespace bert::data {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

constexpr char kExamples[] = R"(Examples:
  a vocabulary of 8,192 pieces, then a dataset:
    bert-data train-tokenizer --input novels/ --vocab-size 8192 --output tokenizer
    bert-data build --input novels/ --tokenizer tokenizer --output data/novels
  what is in it, and whether every byte still is what was built:
    bert-data inspect data/novels --show 2
    bert-data verify data/novels
  the ids of some text:
    echo "It is a truth universally acknowledged" | bert-data tokenize --tokenizer tokenizer

Text files are UTF-8, one paragraph a line, documents separated by blank lines. JSON lines, Parquet and packed files
are read too; see bert-data build --help.
Exit codes: 0 done, 1 error, 2 wrong usage.
)";

constexpr char kTrainExamples[] = R"(Examples:
  bert-data train-tokenizer --input novels/ letters.txt --vocab-size 8192 --output tokenizer
  bert-data train-tokenizer --input novels/ --vocab-size 30000 --cased --output tokenizer-cased
  bert-data train-tokenizer --input novels/ --type byte-level-bpe --vocab-size 50000 --output tokenizer-bytes
)";

constexpr char kBuildExamples[] = R"(Examples:
  bert-data build --input novels/ letters.txt --tokenizer tokenizer --output data/novels
  bert-data build --input wikipedia='wiki/*.parquet' bookcorpus=books/ --documents bookcorpus=rows:64 \
    --tokenizer tokenizer --output data/original
  bert-data build --input crawl/ --field content --tokenizer tokenizer --output data/crawl --strict --force

Files are *.txt, *.jsonl and *.ndjson, these also with .gz, .zst or .xz behind, and *.parquet.
Documents are (auto) what stands between blank lines of a text file, or a row of the others; file makes one of a whole
text file, rows:N joins N rows, or N lines of text, as for a corpus with a sentence a row.
What cannot be read is named, counted and left out, and so is a document that was there before.
A document falls into the validation split by a hash of its text: on the same side in every build.
A build that is stopped in any way goes on, with the same command, where its journal says it was.
)";

constexpr char kInspectExamples[] = R"(Examples:
  bert-data inspect data/novels
  bert-data inspect data/novels --show 3
  bert-data inspect data/novels --json | jq -r .digest
)";

constexpr char kRowsExamples[] = R"(Examples:
  bert-data rows data/novels --split train --count 5
  bert-data rows data/novels --max-seq-len 128 --seed 1 --count 256 --json > rows.jsonl
  bert-data rows data/novels --split train --rows sentence_pair --summary

The rows that a job with the same seed, rows and max_seq_len trains on or is validated with, masked.
)";

constexpr char kVerifyExamples[] = R"(Examples:
  bert-data verify data/novels && echo good

Checks every byte of every file, every header, offset and token id, and that the vocabulary is the one the dataset was
built with.
)";

constexpr char kTokenizeExamples[] = R"(Examples:
  echo "Call me [MASK]." | bert-data tokenize --tokenizer tokenizer
  echo '"two\nlines"' | bert-data tokenize --tokenizer tokenizer --json
)";

struct Flags {
  TrainTokenizerFlags train;
  BuildFlags build;
  InspectFlags inspect;
  RowsFlags rows;
  std::string verify_directory;
  TokenizeFlags tokenize;
  LogOptions log;
};

CLI::App* AddTrainTokenizer(CLI::App& app, TrainTokenizerFlags& flags) {
  CLI::App* command = app.add_subcommand("train-tokenizer", "Learn a vocabulary from text");
  command->footer(kTrainExamples);
  command->add_option("--input", flags.inputs, "Files, directories or 'patterns*', as build reads them")->required();
  command
      ->add_option(
          "--type", flags.type,
          "wordpiece, bpe and byte-level-bpe merge the most frequent pair; wordpiece-score the one most frequent "
          "for its parts")
      ->check(CLI::IsMember({"wordpiece", "wordpiece-score", "bpe", "byte-level-bpe"}))
      ->capture_default_str();
  command->add_option("--vocab-size", flags.vocab_size, "Tokens, special ones included")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command->add_flag("--cased", flags.cased, "Keep case and accents; byte-level-bpe always does");
  command->add_option("--min-frequency", flags.min_frequency, "How often a pair must occur to become a token")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--alphabet-limit", flags.alphabet_limit, "Characters kept, the most frequent first")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--threads", flags.threads, "Documents read into words at once; no effect on the result")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_flag("--strict", flags.strict, "Stop at text that is not UTF-8 instead of leaving its document out");
  command->add_flag("--force", flags.force, "Replace another tokenizer at --output");
  command->add_option("--output", flags.output, "Directory for the tokenizer's files")->required();
  return command;
}

CLI::App* AddBuild(CLI::App& app, BuildFlags& flags) {
  CLI::App* command = app.add_subcommand("build", "Tokenize text into a dataset");
  command->footer(kBuildExamples);
  command->add_option("--input", flags.inputs.inputs, "[CORPUS=]PATH: a file, a directory, a 'pattern*'")->required();
  command->add_option("--field", flags.inputs.fields, "[CORPUS=]FIELD with the text, of JSON lines and Parquet [text]");
  command->add_option("--documents", flags.inputs.documents,
                      "[CORPUS=]RULE that cuts documents: auto, file or rows:N [auto]");
  command
      ->add_option("--tokenizer", flags.tokenizer,
                   "Directory with tokenizer.json, or vocab.txt and tokenizer_config.json")
      ->required();
  command->add_option("--output", flags.output, "Directory of the dataset; must not exist")->required();
  command->add_option("--validation-share", flags.validation_share, "Share of the documents kept for validation")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str();
  command->add_option("--shard-tokens", flags.shard_tokens_max, "Most tokens in one file")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--threads", flags.threads, "Threads that tokenize; no effect on the result")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--journal-bytes", flags.journal_bytes, "Text between two points a killed build can go on from")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--strict", flags.strict, "Stop at what cannot be read instead of leaving it out");
  command->add_flag("--force", flags.force, "Replace a dataset at --output");
  return command;
}

CLI::App* AddInspect(CLI::App& app, InspectFlags& flags) {
  CLI::App* command = app.add_subcommand("inspect", "Say what is in a dataset");
  command->footer(kInspectExamples);
  command->add_option("directory", flags.directory, "The dataset")->required();
  command->add_flag("--json", flags.json, "As JSON");
  command->add_option("--show", flags.show, "First documents of each split to show, decoded")
      ->check(CLI::Range(0, 1'000'000));
  return command;
}

std::map<std::string, sampling::RowFormat> RowFormats() {
  std::map<std::string, sampling::RowFormat> formats;
  for (const auto format :
       {sampling::RowFormat::kPacked, sampling::RowFormat::kTruncatePad, sampling::RowFormat::kSentencePair}) {
    formats.emplace(sampling::RowFormatName(format), format);
  }
  return formats;
}

CLI::App* AddRows(CLI::App& app, RowsFlags& flags) {
  CLI::App* command = app.add_subcommand("rows", "Print masked rows as a model is given them");
  command->footer(kRowsExamples);
  command->add_option("directory", flags.directory, "The dataset")->required();
  command->add_option("--split", flags.split, "train or validation")
      ->check(CLI::IsMember({"train", "validation"}))
      ->capture_default_str();
  command->add_option("--max-seq-len", flags.max_seq_len, "Tokens in a row")->capture_default_str();
  command
      ->add_option("--rows", flags.format,
                   "packed, truncate_pad or sentence_pair: how documents become rows (default packed)")
      ->transform(CLI::CheckedTransformer(RowFormats()));
  command->add_option("--seed", flags.seed, "The job's seed")->capture_default_str();
  command->add_option("--count", flags.count, "Rows, from the start")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--masking-probability", flags.masking.probability, "Share of the tokens to predict")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--ngram-max", flags.masking.ngram_max, "Neighbouring words to choose at once, at most")
      ->check(CLI::Range(1, sampling::kNgramMax))
      ->capture_default_str();
  command->add_flag("--json", flags.json, "A JSON object a line: ids, masked positions and labels of each segment");
  command->add_flag("--summary", flags.summary, "Only how many rows there are and how full");
  return command;
}

CLI::App* AddVerify(CLI::App& app, std::string& directory) {
  CLI::App* command = app.add_subcommand("verify", "Check every byte of a dataset");
  command->footer(kVerifyExamples);
  command->add_option("directory", directory, "The dataset")->required();
  return command;
}

CLI::App* AddTokenize(CLI::App& app, TokenizeFlags& flags) {
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of each line of the standard input");
  command->footer(kTokenizeExamples);
  command
      ->add_option("--tokenizer", flags.tokenizer,
                   "Directory with tokenizer.json, or vocab.txt and tokenizer_config.json")
      ->required();
  command->add_flag("--json", flags.json, "Lines in are JSON strings, lines out objects with ids, tokens and text");
  command->add_flag("--split-special-tokens", flags.split_special_tokens,
                    "Take names of special tokens in the text as plain text");
  return command;
}

int Run(int argc, char** argv) {
  Flags flags;
  flags.build.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  flags.train.threads = flags.build.threads;
  CLI::App app("Makes vocabularies and datasets out of text, and looks at them.", "bert-data");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--log-level", flags.log.level, "trace, debug, info, warning, error")->capture_default_str();
  app.add_option("--log-format", flags.log.format, "text or json")->capture_default_str();
  const CLI::App* train = AddTrainTokenizer(app, flags.train);
  const CLI::App* build = AddBuild(app, flags.build);
  const CLI::App* inspect = AddInspect(app, flags.inspect);
  const CLI::App* rows = AddRows(app, flags.rows);
  const CLI::App* verify = AddVerify(app, flags.verify_directory);
  AddTokenize(app, flags.tokenize);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  absl::Status status = InitLogging("bert-data", flags.log);
  if (!status.ok()) {
    std::cerr << "bert-data: " << status.message() << "\n";
    return kExitUsage;
  }
  const Terminal terminal{.in = std::cin,
                          .out = std::cout,
                          .err = std::cerr,
                          .err_is_terminal = isatty(STDERR_FILENO) == 1,
                          .clock = RealClock()};
  if (train->parsed()) {
    status = TrainTokenizer(flags.train, terminal);
  } else if (build->parsed()) {
    ShutdownSignal shutdown;
    status = Build(flags.build, terminal, [&shutdown] { return shutdown.Requested(); });
  } else if (inspect->parsed()) {
    status = Inspect(flags.inspect, terminal);
  } else if (rows->parsed()) {
    status = Rows(flags.rows, terminal);
  } else if (verify->parsed()) {
    status = Verify(flags.verify_directory, terminal);
  } else {
    status = Tokenize(flags.tokenize, terminal);
  }
  if (status.ok()) return 0;
  std::cerr << "bert-data: " << status.message() << "\n";
  return kExitError;
}

}  // namespace
}  // namespace bert::data

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    return bert::data::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "bert-data: " << error.what() << "\n";
    return 1;
  }
}
