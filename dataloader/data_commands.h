// What bert-data's commands do, apart from reading the command line.
#ifndef BERT_DATALOADER_DATA_COMMANDS_H_
#define BERT_DATALOADER_DATA_COMMANDS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "dataloader/documents/input_files.h"

namespace bert::data {

// Where a command reads and writes. Results go to `out`; progress and warnings to `err` and the log.
struct Terminal {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  // Progress is then one line, written over again; else a line every few seconds.
  bool err_is_terminal = false;
  Clock& clock;
};

struct TrainTokenizerFlags {
  std::vector<std::string> inputs = {};
  // wordpiece, wordpiece-score, bpe, byte-level-bpe.
  std::string type = "wordpiece";
  size_t vocab_size = 30522;
  uint64_t min_frequency = 2;
  size_t alphabet_limit = 1000;
  // Bytes are always as they are.
  bool cased = false;
  int threads = 1;
  bool strict = false;
  bool force = false;
  std::string output = {};
};

// ALREADY_EXISTS: another vocabulary is at `output`, and `force` is not set.
absl::Status TrainTokenizer(const TrainTokenizerFlags& flags, const Terminal& terminal);

struct BuildFlags {
  documents::InputSpec inputs = {};
  std::string tokenizer = {};
  std::string output = {};
  double validation_share = 0.05;
  int64_t shard_tokens_max = int64_t{64} << 20;
  int threads = 1;
  int64_t journal_bytes = int64_t{256} << 20;
  bool strict = false;
  bool force = false;
};

// `cancelled` is asked now and then; see corpus::BuildOptions.
absl::Status Build(const BuildFlags& flags, const Terminal& terminal, std::function<bool()> cancelled);

struct InspectFlags {
  std::string directory = {};
  bool json = false;
  // Documents of each split to show, decoded.
  int64_t show = 0;
};

// From manifest and headers; token ids are read only for the documents shown.
absl::Status Inspect(const InspectFlags& flags, const Terminal& terminal);

// Everything corpus::Verify checks.
absl::Status Verify(const std::string& directory, const Terminal& terminal);

struct TokenizeFlags {
  std::string tokenizer = {};
  // Lines in are JSON strings, lines out objects with ids, tokens and the text decoded again.
  bool json = false;
  bool split_special_tokens = false;
};

// Ids of each line of the input, one line for one, without [CLS] and [SEP].
absl::Status Tokenize(const TokenizeFlags& flags, const Terminal& terminal);

}  // namespace bert::data

#endif  // BERT_DATALOADER_DATA_COMMANDS_H_
