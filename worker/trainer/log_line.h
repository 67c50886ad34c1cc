// Log lines from files that see Torch, whose include folder carries another fmt than spdlog is built with.
#ifndef BERT_WORKER_TRAINER_LOG_LINE_H_
#define BERT_WORKER_TRAINER_LOG_LINE_H_

#include "absl/strings/string_view.h"

namespace bert::trainer {

// Thread-safe, as spdlog.
void LogInfo(absl::string_view line);
void LogWarning(absl::string_view line);
void LogError(absl::string_view line);

}  // namespace bert::trainer

#endif  // BERT_WORKER_TRAINER_LOG_LINE_H_
