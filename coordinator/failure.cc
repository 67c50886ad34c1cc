#include "coordinator/failure.h"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "coordinator/text.h"
#include "coordinator/timestamps.h"

namespace bert::coordinator {
namespace {

constexpr size_t kQuotedLineBytesMax = 300;
constexpr size_t kTailLinesMax = 50;
constexpr size_t kTailLineBytesMax = 1'000;
// What a shell says of a process that a signal ended: this and the signal's number.
constexpr int32_t kExitSignal = 128;

std::string SignalName(int32_t signal) {
  const char* const name = sigabbrev_np(signal);
  return name == nullptr ? "unknown" : absl::StrCat("SIG", name);
}

}  // namespace

bool IsSecondary(const RankFailure& failure) {
  return failure.gone.empty() && failure.signal == 0 && failure.exit_code == kExitPeerLost;
}

bool LooksLikeToldToEnd(const RankFailure& failure) {
  const int32_t signal = failure.signal != 0 ? failure.signal : failure.exit_code - kExitSignal;
  return failure.gone.empty() && (signal == SIGTERM || signal == SIGKILL);
}

std::string CauseInWords(const RankFailure& failure) {
  std::string words = absl::StrCat("rank ", failure.rank, " on node ", failure.node);
  if (!failure.gone.empty()) return absl::StrCat(words, " is gone: ", failure.gone);
  if (failure.signal != 0) {
    absl::StrAppend(&words, " was killed by signal ", failure.signal, " (", SignalName(failure.signal), ")");
  } else {
    absl::StrAppend(&words, " exited with code ", failure.exit_code);
    if (IsSecondary(failure)) absl::StrAppend(&words, " (it lost a peer)");
  }
  if (!failure.detail.empty()) absl::StrAppend(&words, " (", CutText(failure.detail, kQuotedLineBytesMax), ")");
  if (failure.signal == 0 && !failure.log_tail.empty()) {
    absl::StrAppend(&words, ": ", CutText(failure.log_tail.back(), kQuotedLineBytesMax));
  }
  return words;
}

const RankFailure& PrimaryFailure(const std::vector<RankFailure>& failures) {
  return *std::min_element(failures.begin(), failures.end(), [](const RankFailure& a, const RankFailure& b) {
    return std::make_tuple(IsSecondary(a), a.rank) < std::make_tuple(IsSecondary(b), b.rank);
  });
}

v1::Failure ToProto(const RankFailure& failure, int64_t generation, int64_t time_us) {
  v1::Failure proto;
  proto.set_generation(generation);
  proto.set_rank(failure.rank);
  proto.set_node(failure.node);
  proto.set_cause(CauseInWords(failure));
  *proto.mutable_time() = ToTimestamp(time_us);
  const size_t skipped = failure.log_tail.size() > kTailLinesMax ? failure.log_tail.size() - kTailLinesMax : 0;
  for (size_t i = skipped; i < failure.log_tail.size(); ++i)
    proto.add_log_tail(CutText(failure.log_tail[i], kTailLineBytesMax));
  return proto;
}

absl::Duration RestartBackoff(int32_t failures) {
  const int doublings = std::clamp(failures - 1, 0, 10);
  return std::min(kRestartBackoffMax, absl::Seconds(1) * (1 << doublings));
}

journal::v1::Update GenerationFailedUpdate(const journal::v1::JobRecord& job, const v1::Failure& failure,
                                           bool secondary, int64_t time_us) {
  journal::v1::Update update;
  update.set_time_us(time_us);
  auto& failed = *update.mutable_generation_failed();
  failed.set_job_id(job.job_id());
  failed.set_generation(job.generation());
  *failed.mutable_failure() = failure;
  failed.set_secondary(secondary);
  failed.set_not_before_us(time_us + absl::ToInt64Microseconds(RestartBackoff(job.failures_without_progress() + 1)));
  return update;
}

}  // namespace bert::coordinator
