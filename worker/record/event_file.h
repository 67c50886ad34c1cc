// The bytes of TensorBoard's event files: Event messages in TFRecord framing.
#ifndef BERT_WORKER_RECORD_EVENT_FILE_H_
#define BERT_WORKER_RECORD_EVENT_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "worker/record/points.h"

namespace bert::record {

// Length, its masked CRC-32C, the bytes, their masked CRC-32C; integers little-endian.
std::string FrameRecord(std::string_view bytes);

// What begins a file whose first step is `first_step`: the version, and a session's start, at which a reader drops what
// earlier files say of that step and later ones.
std::string EventFileHeader(int64_t first_step, absl::Time now);

// One event with the scalars loss, learning_rate, grad_norm, tokens_per_second, mfu, data_wait, checkpoint_stall and
// perplexity under "train/", of sentence pairs next_sentence_loss too; of a skipped step those that mean something.
std::string EventOf(const StepPoint& point);

// One event with loss, perplexity and accuracy under "validation/" (and those of the next-sentence labels), and the
// predictions as text where there are any.
std::string EventOf(const ValidationPoint& point);

// How many bytes of an event file come before its first event of a later step than `last_step`, or before what is no
// whole, undamaged record.
size_t BytesUpTo(std::string_view file, int64_t last_step);

// "events.out.tfevents.<generation>": TensorBoard reads the files of a directory in the order of their names.
inline constexpr std::string_view kEventFilePrefix = "events.out.tfevents.";
std::string EventFileName(int64_t generation);

}  // namespace bert::record

#endif  // BERT_WORKER_RECORD_EVENT_FILE_H_
