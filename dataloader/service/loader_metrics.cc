#include "dataloader/service/loader_metrics.h"

#include <map>
#include <string>

namespace bert::loader {
namespace {

// Registering a name again answers with the same family, so each help text stands here once per label.
prometheus::Counter& Counter(prometheus::Registry& registry, const char* name, const char* help,
                             const std::map<std::string, std::string>& labels = {}) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Gauge& Gauge(prometheus::Registry& registry, const char* name, const char* help,
                         const std::map<std::string, std::string>& labels = {}) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
}

constexpr char kStalls[] = "bert_loader_stall_seconds_total";
constexpr char kStallsHelp[] =
    "Time streams stood still, by who was waited for: the loader (credit was there, rows were not) or the client.";
constexpr char kQueue[] = "bert_loader_queue_responses";
constexpr char kQueueHelp[] =
    "Responses that wait: to be made, for a thread; or ready, for the client's credit and the connection.";
constexpr char kHeartbeats[] = "bert_loader_heartbeats_total";
constexpr char kHeartbeatsHelp[] = "Heartbeats sent to the coordinator, by result.";

}  // namespace

LoaderMetrics::LoaderMetrics()
    : registry(std::make_shared<prometheus::Registry>(prometheus::Registry::InsertBehavior::Merge)),
      rows(Counter(*registry, "bert_loader_rows_total", "Rows sent.")),
      tokens(Counter(*registry, "bert_loader_tokens_total", "Tokens sent, [CLS] and [SEP] included.")),
      bytes(Counter(*registry, "bert_loader_bytes_total", "Bytes of the responses sent.")),
      responses(Counter(*registry, "bert_loader_responses_total", "Responses sent.")),
      open_streams(Gauge(*registry, "bert_loader_open_streams", "Streams open now.")),
      open_datasets(Gauge(*registry, "bert_loader_open_datasets", "Datasets held open now.")),
      responses_ready(Gauge(*registry, kQueue, kQueueHelp, {{"stage", "ready"}})),
      responses_queued(Gauge(*registry, kQueue, kQueueHelp, {{"stage", "to_make"}})),
      stalled_by_loader(Counter(*registry, kStalls, kStallsHelp, {{"cause", "loader"}})),
      stalled_by_client(Counter(*registry, kStalls, kStallsHelp, {{"cause", "client"}})),
      verified_bytes(Counter(*registry, "bert_loader_verified_bytes_total",
                             "Bytes of open datasets read again to look for damage.")),
      datasets_damaged(Counter(*registry, "bert_loader_datasets_damaged_total",
                               "Datasets found damaged after they were opened, and no longer served.")),
      heartbeats_ok(Counter(*registry, kHeartbeats, kHeartbeatsHelp, {{"result", "ok"}})),
      heartbeats_failed(Counter(*registry, kHeartbeats, kHeartbeatsHelp, {{"result", "error"}})),
      streams_ended(prometheus::BuildCounter()
                        .Name("bert_loader_streams_ended_total")
                        .Help("Streams that ended, by status code.")
                        .Register(*registry)) {}

void LoaderMetrics::CountStreamEnd(const absl::Status& status) {
  streams_ended.Add({{"code", absl::StatusCodeToString(status.code())}}).Increment();
}

}  // namespace bert::loader
