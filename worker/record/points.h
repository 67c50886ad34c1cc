// What a training measures of itself, as plain values.
#ifndef BERT_WORKER_RECORD_POINTS_H_
#define BERT_WORKER_RECORD_POINTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace bert::record {

// One optimizer step over all ranks. Shares are of the step's wall time on the rank that records.
struct StepPoint {
  int64_t step = 0;  // 1 is the first.
  double loss = 0;   // Mean over masked tokens, in nats.
  // Mean over sentence pairs, in nats; none: there are none.
  std::optional<double> next_sentence_loss = std::nullopt;
  double learning_rate = 0;
  double grad_norm = 0;  // Before clipping.
  double tokens_per_second = 0;
  double mfu = 0;  // Model FLOP/s over the device's own; 0 where that is not known.
  double data_wait = 0;
  double checkpoint_stall = 0;
  // Its loss or gradient was not finite: no weight has changed, and loss and grad_norm mean nothing.
  bool skipped = false;
  absl::Time time = absl::UnixEpoch();
};

// A validation after `step` completed steps.
struct ValidationPoint {
  int64_t step = 0;
  double loss = 0;
  double perplexity = 0;
  double accuracy = 0;  // In [0, 1].
  int64_t masked_tokens = 0;
  std::optional<double> next_sentence_loss = std::nullopt;
  std::optional<double> next_sentence_accuracy = std::nullopt;
  std::string predictions = "";  // Markdown; empty: none were sampled.
  absl::Time time = absl::UnixEpoch();
};

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_POINTS_H_
