// What ended a generation, in words, and which of several failures is the cause of the others.
//
// When a rank dies, its peers fail right after it: their collectives throw. A trainer that ends for that reason alone
// exits with code 3 and is *secondary*. Of failures that one heartbeat brings, the cause is the first in this order:
// killed by a signal, gone, or another exit code; then secondary ones; the lower rank before the higher. A secondary
// failure still ends the generation at once, and is amended when the one behind it is reported: by a heartbeat that its
// agent sent before it could know that the generation had ended, by a later one where the rank did not end as one that
// its agent tells to (LooksLikeToldToEnd), or by the loss of a node.
#ifndef BERT_COORDINATOR_FAILURE_H_
#define BERT_COORDINATOR_FAILURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "bert/journal/v1/journal.pb.h"

namespace bert::coordinator {

// A trainer's exit code for "a peer was lost".
inline constexpr int32_t kExitPeerLost = 3;
inline constexpr absl::Duration kRestartBackoffMax = absl::Seconds(60);

// One rank's bad end.
struct RankFailure {
  int32_t rank = 0;
  std::string node = {};
  int32_t exit_code = 0;
  int32_t signal = 0;
  // Set where it is known only that it is gone: why.
  std::string gone = {};
  std::string detail = {};
  std::vector<std::string> log_tail = {};
};

bool IsSecondary(const RankFailure& failure);

// How a rank ends that its agent told to: by SIGTERM or SIGKILL, or by an exit code of 128 and such a signal. Another
// code is the rank's own failure, even where the agent was just about to end it.
bool LooksLikeToldToEnd(const RankFailure& failure);

// "rank 1 on node a was killed by signal 9 (SIGKILL)", "rank 0 on node b exited with code 1: <its last line>",
// "rank 2 on node c is gone: no heartbeat for 3s".
std::string CauseInWords(const RankFailure& failure);

// `failures` is not empty.
const RankFailure& PrimaryFailure(const std::vector<RankFailure>& failures);

v1::Failure ToProto(const RankFailure& failure, int64_t generation, int64_t time_us);

// How long the next generation waits after the `failures`-th failure in a row: 1 s, doubled each time, at most a
// minute.
absl::Duration RestartBackoff(int32_t failures);

// The update that ends the live generation of `job` at `time_us`, its backoff included.
journal::v1::Update GenerationFailedUpdate(const journal::v1::JobRecord& job, const v1::Failure& failure,
                                           bool secondary, int64_t time_us);

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_FAILURE_H_
