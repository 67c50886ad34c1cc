// Microseconds since the epoch, as the journal has them, to the API's timestamps.
#ifndef BERT_COORDINATOR_TIMESTAMPS_H_
#define BERT_COORDINATOR_TIMESTAMPS_H_

#include <cstdint>

#include "google/protobuf/timestamp.pb.h"

namespace bert::coordinator {

// `time_us` is not negative.
inline google::protobuf::Timestamp ToTimestamp(int64_t time_us) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(time_us / 1'000'000);
  timestamp.set_nanos(static_cast<int32_t>(time_us % 1'000'000) * 1000);
  return timestamp;
}

}  // namespace bert::coordinator

#endif  // BERT_COORDINATOR_TIMESTAMPS_H_
