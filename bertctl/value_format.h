// Values as people read them.
#ifndef BERT_BERTCTL_VALUE_FORMAT_H_
#define BERT_BERTCTL_VALUE_FORMAT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "bert/v1/jobs.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace bert::ctl {

// "45s", "3m12s", "5h04m", "3d07h"; negative ones are "0s".
std::string FormatAge(absl::Duration age);
// "-" where `time` is unset, which is the epoch.
std::string FormatAge(const google::protobuf::Timestamp& time, absl::Time now);
// "2026-01-02 03:04:05 UTC"
std::string FormatTime(const google::protobuf::Timestamp& time);
// "1,234,567"
std::string FormatCount(int64_t count);
// "8,343": tokens per second and the like, to the unit.
std::string FormatRate(double per_second);
// "0 B", "999 B", "1.2 kB", "44.1 MB": powers of 1,000.
std::string FormatBytes(int64_t bytes);
// Four decimals.
std::string FormatLoss(double loss);
// "21.3%"
std::string FormatShare(double share);

absl::Time ToTime(const google::protobuf::Timestamp& time);

// "RUNNING" for JOB_STATE_RUNNING.
std::string StateName(v1::JobState state);

// Control characters, which could move a terminal's cursor, as '?'; tabs stay.
std::string Printable(std::string_view text);

// Steps of the whole training: as the job says, or as its trainers have counted them; 0 while neither is known.
int64_t TotalSteps(const v1::Job& job);
// "2,000", or "?" while unknown.
std::string FormatTotalSteps(const v1::Job& job);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_VALUE_FORMAT_H_
