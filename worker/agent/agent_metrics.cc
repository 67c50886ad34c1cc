#include "worker/agent/agent_metrics.h"

namespace bert::agent {
namespace {

// Registering a name again answers with the same family, so each help text stands here once per label.
prometheus::Counter& Counter(prometheus::Registry& registry, const char* name, const char* help,
                             const std::map<std::string, std::string>& labels = {}) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Gauge& Gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

constexpr char kExits[] = "bert_agent_rank_exits_total";
constexpr char kExitsHelp[] = "Ranks that ended on this node, by outcome.";
constexpr char kHeartbeats[] = "bert_agent_heartbeats_total";
constexpr char kHeartbeatsHelp[] = "Heartbeats sent to the coordinator, by result.";
constexpr char kUploads[] = "bert_agent_log_uploads_total";
constexpr char kUploadsHelp[] = "Log uploads to the coordinator, by result.";

}  // namespace

AgentMetrics::AgentMetrics()
    : registry(std::make_shared<prometheus::Registry>(prometheus::Registry::InsertBehavior::Merge)),
      slots(Gauge(*registry, "bert_agent_slots", "Slots this node offers.")),
      ranks_running(Gauge(*registry, "bert_agent_ranks_running", "Trainer processes that run now.")),
      starts(Counter(*registry, "bert_agent_rank_starts_total", "Trainer processes started.")),
      exits_ok(Counter(*registry, kExits, kExitsHelp, {{"outcome", "ok"}})),
      exits_failed(Counter(*registry, kExits, kExitsHelp, {{"outcome", "failed"}})),
      exits_ended(Counter(*registry, kExits, kExitsHelp, {{"outcome", "ended"}})),
      exits_not_started(Counter(*registry, kExits, kExitsHelp, {{"outcome", "not_started"}})),
      registrations(Counter(*registry, "bert_agent_registrations_total", "Successful registrations of this node.")),
      heartbeats_ok(Counter(*registry, kHeartbeats, kHeartbeatsHelp, {{"result", "ok"}})),
      heartbeats_failed(Counter(*registry, kHeartbeats, kHeartbeatsHelp, {{"result", "error"}})),
      last_heartbeat_seconds(
          Gauge(*registry, "bert_agent_last_heartbeat_timestamp_seconds", "Unix time of the last answered heartbeat.")),
      log_lines_read(Counter(*registry, "bert_agent_log_lines_read_total", "Lines that trainers printed.")),
      log_lines_acknowledged(
          Counter(*registry, "bert_agent_log_lines_acknowledged_total", "Log lines that the coordinator has stored.")),
      log_lines_dropped(Counter(*registry, "bert_agent_log_lines_dropped_total",
                                "Log lines kept on this node only: too many while the coordinator was away.")),
      log_uploads_ok(Counter(*registry, kUploads, kUploadsHelp, {{"result", "ok"}})),
      log_uploads_failed(Counter(*registry, kUploads, kUploadsHelp, {{"result", "error"}})) {}

}  // namespace bert::agent
