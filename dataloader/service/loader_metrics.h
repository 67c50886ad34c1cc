// What a dataloader counts.
#ifndef BERT_DATALOADER_SERVICE_LOADER_METRICS_H_
#define BERT_DATALOADER_SERVICE_LOADER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <memory>

#include "absl/status/status.h"

namespace bert::loader {

// Owns the registry that HttpEndpoint serves. The instruments are thread-safe and live as long as this.
struct LoaderMetrics {
  LoaderMetrics();

  // Counts a stream that ended with `status`.
  void CountStreamEnd(const absl::Status& status);

  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& rows;
  prometheus::Counter& tokens;
  prometheus::Counter& bytes;
  prometheus::Counter& responses;
  prometheus::Gauge& open_streams;
  prometheus::Gauge& open_datasets;
  // Responses that are made and not yet sent, and responses waiting for a thread to make them.
  prometheus::Gauge& responses_ready;
  prometheus::Gauge& responses_queued;
  // Seconds in which a stream stood still: the client had given credit and nothing was made yet, or the other way
  // round.
  prometheus::Counter& stalled_by_loader;
  prometheus::Counter& stalled_by_client;
  prometheus::Counter& verified_bytes;
  prometheus::Counter& datasets_damaged;
  prometheus::Counter& heartbeats_ok;
  prometheus::Counter& heartbeats_failed;
  prometheus::Family<prometheus::Counter>& streams_ended;  // By status code.
};

}  // namespace bert::loader

#endif  // BERT_DATALOADER_SERVICE_LOADER_METRICS_H_
